//! The figures, for people.

use super::{Measured, Results, reference};
use crate::machine;

/// What is wanted of one cost.
struct Wanted {
    rustcrypto: &'static str,
    rustcrypto_avx2: &'static str,
}

pub(super) fn print(results: &Results, with_reference: bool) {
    println!("{}", machine::describe());
    if with_reference {
        println!("C: phc-winner-argon2-20190702, opt.c, {}", reference::compiled_with());
    }
    println!(
        "{:<64} {:>9} {:>9}",
        "hashes per second of one thread's CPU time, medians", "measured", "wanted"
    );
    let avx2 = ">= 2";
    cost("19 MiB, t = 2", &results.m19456_t2, Wanted { rustcrypto: ">= 3.9", rustcrypto_avx2: avx2 });
    cost("7 MiB, t = 5", &results.m7168_t5, Wanted { rustcrypto: ">= 3.2", rustcrypto_avx2: "" });
    cost("64 MiB, t = 3", &results.m65536_t3, Wanted { rustcrypto: ">= 3.3", rustcrypto_avx2: "" });
    println!("AVX-512 where memory is in the second cache");
    let most = format!("<= {:.0}", results.compute_floor_cycles_per_block / 0.9);
    row(
        "  cycles a block (the floor is 264; wanted: 90 % of that speed)",
        results.compute_cycles_per_block,
        &most,
    );
}

fn cost(title: &str, measured: &Measured, wanted: Wanted) {
    println!("{title}");
    row("  AVX-512, three at a time", measured.per_s, "");
    row("  AVX2, three at a time", measured.per_s_avx2, "");
    row("  RustCrypto, the call that allocates", measured.per_s_rustcrypto, "");
    row("  RustCrypto, memory kept (not on huge pages)", measured.per_s_rustcrypto_kept, "");
    row("  C, memory kept on huge pages, wiped after each (its default)", measured.per_s_c, "");
    row("  C, memory kept on huge pages, not wiped", measured.per_s_c_unwiped, "");
    row("  AVX-512 over RustCrypto", measured.ratio_rustcrypto, wanted.rustcrypto);
    row("  AVX2 over RustCrypto", measured.ratio_rustcrypto_avx2, wanted.rustcrypto_avx2);
    row("  AVX-512 over RustCrypto with memory kept", measured.ratio_rustcrypto_kept, "");
    row("  AVX-512 over C", measured.ratio_c, ">= 1.4");
    row("  AVX-512 over C that does not wipe", measured.ratio_c_unwiped, "");
    row("  cycles a block of AVX-512, waiting included", measured.cycles_per_block, "");
    row("  two threads over one, by the clock on the wall", measured.two_thread_speedup, ">= 1.85");
}

fn row(what: &str, value: Option<f64>, wanted: &str) {
    let value = value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    println!("{what:<64} {value:>9} {wanted:>9}");
}
