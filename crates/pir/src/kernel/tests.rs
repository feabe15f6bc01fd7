//! Each step of each kernel against the portable one, on random and on extreme values.

use super::*;
use crate::parameters::{Gadgets, LEVELS, N, Q, Q1, Q2, SMALL_N};
use crate::sample::public;

/// Random coefficients below `q`, then such that are all equal.
fn polys(q: u64) -> Vec<Poly> {
    let mut polys: Vec<Poly> = (0..2)
        .map(|index| {
            let mut poly = Poly::ZERO;
            public(&[5; 32], index, q, &mut poly.0);
            poly
        })
        .collect();
    polys.extend([0, 1, q / 2, q / 2 + 1, q - 1].map(|value| Poly([value; N])));
    polys
}

fn pairs(q: u64) -> Vec<(Poly, Poly)> {
    let polys = polys(q);
    polys.iter().flat_map(|x| polys.iter().map(|y| (x.clone(), y.clone()))).collect()
}

/// What a step makes, by each kernel, is the same.
fn alike(step: impl Fn(Kernel) -> Vec<Poly>, what: &str) {
    let expected = step(Kernel::PORTABLE);
    for kernel in Kernel::available() {
        for (found, expected) in step(kernel).iter().zip(&expected) {
            assert!(found.0 == expected.0, "{what} with {kernel:?}");
        }
    }
}

fn one(step: impl FnOnce(&mut Poly)) -> Poly {
    let mut out = Poly::ZERO;
    step(&mut out);
    out
}

#[test]
fn digits_are_alike() {
    let standard = Gadgets::STANDARD;
    let gadgets = standard.expansion.iter().chain([&standard.conversion]).map(|gadget| (*gadget, Q));
    for (gadget, q) in gadgets.chain([(standard.selection, Q1), (standard.packing, Q2)]) {
        for x in polys(q) {
            let digits = |kernel: Kernel| {
                let mut out = vec![Poly::ZERO; gadget.digits];
                kernel.digits(&x.0, gadget, q, &mut out);
                out
            };
            alike(digits, "digits");
            // And they are digits: their sum is the number, but for what is dropped.
            let digits = digits(Kernel::best());
            for (at, x) in x.0.iter().enumerate() {
                let signed = |value: u64| {
                    if value > q / 2 { value.cast_signed() - q.cast_signed() } else { value.cast_signed() }
                };
                let weighted = |(digit, poly): (usize, &Poly)| signed(poly.0[at]) << gadget.weight_log(digit);
                let sum: i64 = digits.iter().enumerate().map(weighted).sum();
                assert!((sum - signed(*x)).unsigned_abs() <= (1 << gadget.dropped) / 2, "{gadget:?} of {x}");
            }
        }
    }
}

#[test]
fn sums_and_differences_are_alike() {
    for q in [Q, Q1] {
        for (x, y) in pairs(q) {
            alike(
                |kernel| {
                    let mut sum = x.clone();
                    kernel.add(&mut sum, &y, q);
                    vec![sum, one(|out| kernel.subtract(&x, &y, q, out))]
                },
                "sums",
            );
        }
    }
}

#[test]
fn automorphisms_and_rotations_are_alike() {
    for x in polys(Q) {
        for level in 0..LEVELS {
            let map = Automorphism::new(level);
            alike(|kernel| vec![one(|out| kernel.automorphism(&x, &map, Q, out))], "automorphism");
        }
    }
    for x in polys(Q1) {
        for shift in [1, 2, 4, 8, 64, 1024] {
            alike(|kernel| vec![one(|out| kernel.rotate_subtract(&x, shift, Q1, out))], "rotation");
        }
    }
    for (x, t) in pairs(Q) {
        for level in 0..LEVELS {
            alike(
                |kernel| {
                    let (mut even, mut odd) = (Poly::ZERO, Poly::ZERO);
                    kernel.split(&x, &t, 1 << level, &mut even, &mut odd);
                    vec![even, odd]
                },
                "split",
            );
        }
    }
}

#[test]
fn switches_of_the_modulus_are_alike_and_right() {
    for x in polys(Q) {
        let switched = |kernel: Kernel| {
            let mut x = x.clone();
            kernel.switch(&mut x);
            vec![x]
        };
        alike(switched, "switch");
        for (x, found) in x.0.iter().zip(&switched(Kernel::best())[0].0) {
            let exact = *x as f64 * (Q1 as f64 / Q as f64);
            let distance = (exact - *found as f64).abs();
            assert!(distance.min((distance - Q1 as f64).abs()) < 0.5001, "{x}: {found}, not {exact}");
        }
    }
}

#[test]
fn inner_products_are_alike_and_right() {
    for (q, n, rows) in [(Q, N, 7), (Q1, N, 6), (Q2, SMALL_N, 20)] {
        let ring = Ring::new(q, n);
        let polys = polys(q);
        // Twice over all, from different ends; and the largest values alone.
        let some = |from: usize, step: usize| -> Vec<Poly> {
            (0..rows).map(|at| polys[(from + step * at) % polys.len()].clone()).collect()
        };
        let largest = vec![Poly([q - 1; N]); rows];
        for (digits, factors) in
            [(some(0, 1), some(1, 3)), (largest.clone(), some(0, 1)), (largest.clone(), largest)]
        {
            let rows: Vec<Ciphertext> = factors
                .iter()
                .zip(factors.iter().rev())
                .map(|(a, b)| Ciphertext { a: a.clone(), b: b.clone() })
                .collect();
            let product = |kernel: Kernel| {
                let mut out = Ciphertext::ZERO;
                kernel.inner_product(&ring, &digits, &rows, &mut out);
                vec![out.a, out.b]
            };
            alike(product, "inner product");
            let found = product(Kernel::best());
            for at in 0..n {
                let sum = |half: fn(&Ciphertext) -> &Poly| {
                    digits
                        .iter()
                        .zip(&rows)
                        .fold(0, |sum, (digit, row)| (sum + ring.multiply(digit.0[at], half(row).0[at])) % q)
                };
                assert_eq!((found[0].0[at], found[1].0[at]), (sum(|row| &row.a), sum(|row| &row.b)));
            }
        }
    }
}

#[test]
fn scans_are_alike_and_right() {
    let ring = Ring::new(Q1, N);
    let mut random = vec![0; 8 * (2 * 64 + 7 * 64)];
    public(&[6; 32], 0, Q1, &mut random);
    let words: Vec<u32> = random.iter().map(|value| *value as u32).collect();
    let largest = [Q1 as u32 - 1; 8];
    for (rows, columns, extreme) in [(64, 7, false), (1, 1, false), (2, 4, false), (2048, 3, true)] {
        let (table, query): (Vec<[u32; 8]>, Vec<[[u32; 8]; 2]>) = if extreme {
            (vec![largest; rows * columns], vec![[largest; 2]; rows])
        } else {
            let (query, table) = words.as_chunks::<8>().0.split_at(2 * 64);
            (table[..rows * columns].to_vec(), query.as_chunks::<2>().0[..rows].to_vec())
        };
        for kernel in Kernel::available() {
            let mut out = vec![[[0; 8]; 2]; columns];
            kernel.scan(&ring, &table, &query, &mut out);
            for (column, out) in table.chunks_exact(rows).zip(&out) {
                for half in 0..2 {
                    for lane in 0..8 {
                        let sum = column.iter().zip(&query).fold(0, |sum, (word, factors)| {
                            (sum + u64::from(word[lane]) * u64::from(factors[half][lane]) % Q1) % Q1
                        });
                        assert_eq!(out[half][lane], sum, "{kernel:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn rows_of_selectors_and_late_changes_are_alike() {
    for (x, y) in pairs(Q) {
        alike(
            |kernel| {
                let plain = Ciphertext { a: x.clone(), b: y.clone() };
                let mut switched = Ciphertext { a: y.clone(), b: x.clone() };
                kernel.selector_row(&plain, &mut switched);
                vec![switched.a, switched.b]
            },
            "selector",
        );
    }
    for (x, y) in pairs(Q1) {
        let words: Vec<u32> = x.0.iter().map(|value| *value as u32).collect();
        let sum = |kernel: Kernel| {
            let mut out = y.clone();
            kernel.multiply_add(&words, &y, &mut out);
            vec![out]
        };
        alike(sum, "multiply and add");
        for ((x, y), found) in x.0.iter().zip(&y.0).zip(&sum(Kernel::best())[0].0) {
            assert_eq!(
                u128::from(*found),
                (u128::from(*y) + u128::from(*x) * u128::from(*y)) % u128::from(Q1)
            );
        }
    }
}
