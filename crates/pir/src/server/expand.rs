//! The expansion: one ciphertext of many values becomes many ciphertexts of one value each, as Angel, Chen, Laine and
//! Setty do it (SealPIR), with the subring queries of Respire (eprint 2024/1165).

use super::keys::EvaluationKeys;
use super::{Scratch, Server};
use crate::parameters::{LEVELS, Q, levels};
use crate::ring::{Ciphertext, reduce_once};

/// Both children of a node of the tree.
#[derive(Clone)]
pub(super) struct Children {
    even: Ciphertext,
    odd: Ciphertext,
}

impl Children {
    pub(super) const ZERO: Self = Self { even: Ciphertext::ZERO, odd: Ciphertext::ZERO };
}

/// What a walk through the tree needs at each node.
struct Walk<'a, E: FnMut(&Server, &mut Scratch, usize, &mut Ciphertext)> {
    keys: &'a EvaluationKeys,
    count: usize,
    levels: usize,
    emit: E,
}

impl Server {
    /// Gives `emit` the ciphertext of each of `count` values, in their order. Depth first, so that what is at work stays in
    /// the second cache.
    ///
    /// The query has only those coefficients of b that hold values; the first levels cancel what that does to the others.
    pub(super) fn expand(
        &self,
        mut root: Ciphertext,
        count: usize,
        keys: &EvaluationKeys,
        scratch: &mut Scratch,
        emit: impl FnMut(&Server, &mut Scratch, usize, &mut Ciphertext),
    ) {
        let levels = levels(count);
        for level in 0..LEVELS - levels {
            self.image(&root, level, keys, scratch);
            self.tables.kernel.add(&mut root.a, &scratch.image.a, Q);
            self.tables.kernel.add(&mut root.b, &scratch.image.b, Q);
        }
        let mut children = std::mem::take(&mut scratch.children);
        let mut walk = Walk { keys, count, levels, emit };
        self.visit(&mut walk, &mut root, 0, 0, &mut children[..levels], scratch);
        scratch.children = children;
    }

    /// `first` is the first value below this node, which is `depth` below the root.
    fn visit<E: FnMut(&Server, &mut Scratch, usize, &mut Ciphertext)>(
        &self,
        walk: &mut Walk<'_, E>,
        node: &mut Ciphertext,
        first: usize,
        depth: usize,
        below: &mut [Children],
        scratch: &mut Scratch,
    ) {
        let Some((children, below)) = below.split_first_mut() else {
            (walk.emit)(self, scratch, first, node);
            return;
        };
        let level = LEVELS - walk.levels + depth;
        self.image(node, level, walk.keys, scratch);
        let kernel = self.tables.kernel;
        let (even, odd) = (&mut children.even, &mut children.odd);
        kernel.split(&node.a, &scratch.image.a, 1 << level, &mut even.a, &mut odd.a);
        kernel.split(&node.b, &scratch.image.b, 1 << level, &mut even.b, &mut odd.b);

        self.visit(walk, &mut children.even, first, depth + 1, below, scratch);
        let second = first + (1 << (walk.levels - depth - 1));
        if second < walk.count {
            self.visit(walk, &mut children.odd, second, depth + 1, below, scratch);
        }
    }

    /// The image of a ciphertext under a level's automorphism, under the same secret, into `scratch.image`.
    fn image(&self, ciphertext: &Ciphertext, level: usize, keys: &EvaluationKeys, scratch: &mut Scratch) {
        let tables = &self.tables;
        let (map, gadget) = (&tables.automorphisms[level], tables.parameters().gadgets.expansion[level]);
        tables.kernel.automorphism(&ciphertext.a, map, Q, &mut scratch.poly);
        self.switch_key(gadget, &keys.expansion[level], scratch);
        tables.kernel.automorphism(&ciphertext.b, map, Q, &mut scratch.poly);
        tables.kernel.add(&mut scratch.image.b, &scratch.poly, Q);
    }

    /// What `scratch.poly` times the secret that `rows` switch from is, under the client's secret, with the opposite sign;
    /// into `scratch.image`.
    pub(super) fn switch_key(
        &self,
        gadget: crate::parameters::Gadget,
        rows: &[Ciphertext],
        scratch: &mut Scratch,
    ) {
        let (kernel, ring) = (self.tables.kernel, &self.tables.ring);
        let digits = &mut scratch.digits[..gadget.digits];
        kernel.digits(&scratch.poly.0, gadget, Q, digits);
        for digit in &mut *digits {
            kernel.forward(ring, digit);
        }
        kernel.inner_product(ring, digits, rows, &mut scratch.image);
        kernel.inverse(ring, &mut scratch.image.a);
        kernel.inverse(ring, &mut scratch.image.b);
    }
}

/// A query's ciphertext: the half b has values at the exponents of a query, and nothing elsewhere.
pub(super) fn sparse(seed: &[u8; 32], index: u64, values: &[u64]) -> Ciphertext {
    let mut ciphertext = Ciphertext::ZERO;
    crate::sample::public(seed, index, Q, &mut ciphertext.a.0);
    for (at, value) in values.iter().enumerate() {
        ciphertext.b.0[crate::parameters::exponent(at, values.len())] = reduce_once(*value, Q);
    }
    ciphertext
}
