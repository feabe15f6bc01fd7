use super::*;
use crate::kernel::{Kernel, portable};
use crate::parameters::{Q, Q1, Q2, SMALL_N};
use crate::sample::public;

fn random(ring: &Ring, index: u64) -> Poly {
    let mut poly = Poly::ZERO;
    public(&[7; 32], index, ring.q, &mut poly.0[..ring.n]);
    poly
}

fn rings() -> [Ring; 4] {
    [Ring::new(Q, N), Ring::new(Q1, N), Ring::new(Q2, SMALL_N), Ring::new(Q, SMALL_N)]
}

/// The product by its definition.
fn negacyclic(ring: &Ring, x: &Poly, y: &Poly) -> Poly {
    let mut out = Poly::ZERO;
    for i in 0..ring.n {
        for j in 0..ring.n {
            let product = ring.multiply(x.0[i], y.0[j]);
            let at = (i + j) % ring.n;
            let signed = if i + j < ring.n { product } else { ring.q - product };
            out.0[at] = (out.0[at] + signed) % ring.q;
        }
    }
    out
}

#[test]
fn the_moduli_are_primes_with_the_roots_that_the_transform_needs() {
    for ring in rings() {
        // Fermat's test to several bases, and roots of the right order.
        for base in [2, 3, 5, 7, 11, 13, 17] {
            assert_eq!(power(base, ring.q - 1, ring.q), 1);
        }
        assert_eq!((ring.q - 1) % 4096, 0);
        let root = ring.forward[1].value;
        assert_eq!(power(root, 2, ring.q), ring.q - 1, "the first constant is a square root of −1");
    }
}

#[test]
fn products_of_transforms_are_transforms_of_products() {
    for ring in rings() {
        let (x, y) = (random(&ring, 0), random(&ring, 1));
        let expected = negacyclic(&ring, &x, &y);
        for kernel in Kernel::available() {
            let (mut a, mut b) = (x.clone(), y.clone());
            kernel.forward(&ring, &mut a);
            kernel.forward(&ring, &mut b);
            for (a, b) in a.0.iter_mut().zip(&b.0) {
                *a = ring.multiply(*a, *b);
            }
            kernel.inverse(&ring, &mut a);
            assert!(a.0 == expected.0, "{kernel:?}, {} modulo {}", ring.n, ring.q);
        }
    }
}

#[test]
fn all_kernels_transform_alike() {
    for ring in rings() {
        let edge = |value: u64| {
            let mut poly = Poly::ZERO;
            poly.0[..ring.n].fill(value);
            poly
        };
        for poly in [random(&ring, 2), edge(0), edge(1), edge(ring.q - 1)] {
            let (mut forward, mut inverse) = (poly.clone(), poly.clone());
            portable::forward(&ring, &mut forward.0[..ring.n]);
            portable::inverse(&ring, &mut inverse.0[..ring.n]);
            assert!(forward.0.iter().chain(&inverse.0).all(|value| *value < ring.q));
            for kernel in Kernel::available() {
                let mut x = poly.clone();
                kernel.forward(&ring, &mut x);
                assert!(x.0 == forward.0, "{kernel:?} forward modulo {}", ring.q);
                kernel.inverse(&ring, &mut x);
                assert!(x.0 == poly.0, "{kernel:?} there and back modulo {}", ring.q);
                kernel.inverse(&ring, {
                    x = poly.clone();
                    &mut x
                });
                assert!(x.0 == inverse.0, "{kernel:?} inverse modulo {}", ring.q);
            }
        }
    }
}

#[test]
fn an_automorphism_puts_a_power_of_x_for_x() {
    for level in 0..11 {
        let exponent = N / (1 << level) + 1;
        let mut x = Poly::ZERO;
        (x.0[1], x.0[5], x.0[0]) = (3, Q - 4, 9);
        let mut out = Poly::ZERO;
        Kernel::PORTABLE.automorphism(&x, &Automorphism::new(level), Q, &mut out);
        let mut expected = Poly::ZERO;
        for (from, value) in [(0, 9), (1, 3), (5, Q - 4)] {
            let to = from * exponent % (2 * N);
            expected.0[to % N] = if to < N { value } else { Q - value };
        }
        assert!(out.0 == expected.0, "level {level}");
    }
}
