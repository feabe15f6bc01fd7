//! What is measured beside the engine: Spiral (spiral-rs) and YPIR with SimplePIR (valar-ypir), each over a table as large as
//! 2^20 records, in items as large as it likes them. Every answer is compared with the table.

use spiral_rs::client::Client;
use spiral_rs::server::{generate_random_db_and_get_item, process_query};
use valar_ypir::client::YPIRClient;
use valar_ypir::params::{DbRowsCols, params_for_scenario_simplepir};
use valar_ypir::server::YServer;

use crate::{Result, machine};

/// One query: seconds of the server.
pub(super) type Round<'a> = &'a mut dyn FnMut() -> Result<f64>;

/// 2^14 items of 8 KB (134 MB), with the gadgets that were the fastest of those tried: 5 digits for the left half of the
/// expansion, 56 for the right one as in the paper, 7 for selectors. The crate takes them as a text.
const SPIRAL: &str = r#"{"n": 2, "nu_1": 8, "nu_2": 6, "p": 256, "q2_bits": 22, "t_gsw": 7, "t_conv": 4,
    "t_exp_left": 5, "t_exp_right": 56, "instances": 1, "db_item_size": 8192}"#;

/// YPIR's items: 2^15 of 3.5 KB (117 MB).
const ITEMS: u64 = 1 << 15;
const ITEM_BITS: u64 = 2048 * 14;

/// The item that is asked for.
const ASKED: usize = 4_321;

/// Hands `measure` a query of each, and with it what Spiral and YPIR send: bytes of query and answer.
pub(super) fn with<T>(measure: impl FnOnce(Round<'_>, Round<'_>) -> Result<T>) -> Result<T> {
    let params = spiral_rs::util::params_from_json(SPIRAL);
    let (item, table) = generate_random_db_and_get_item(&params, ASKED);
    let item = item.to_vec(8, params.modp_words_per_chunk());
    let mut client = Client::init(&params);
    let keys = client.generate_keys();
    let mut spiral = || {
        let query = client.generate_query(ASKED);
        let began = machine::cpu_seconds();
        let answer = process_query(&params, &keys, &query, table.as_slice());
        let seconds = machine::cpu_seconds() - began;
        if client.decode_response(&answer) == item {
            Ok(seconds)
        } else {
            Err("an answer of Spiral is wrong".into())
        }
    };

    let params = params_for_scenario_simplepir(ITEMS, ITEM_BITS);
    let mut state = 1_u64;
    let values = std::iter::repeat_with(|| {
        // Knuth's generator (MMIX): 14 of its upper bits.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 50) as u16
    });
    let server = YServer::<u16>::new(&params, values, true, false, true);
    let prepared = server.perform_offline_precomputation_simplepir(None, None, None);
    let client = YPIRClient::new(&params);
    let expected: Vec<u64> = server.get_row(ASKED).into_iter().map(u64::from).collect();
    let mut ypir = || {
        let ((row, packing), seed) = client.generate_query_simplepir(ASKED);
        if row.as_slice().len() != params.db_rows_padded_simplepir() {
            return Err("YPIR's table has another size".into());
        }
        let began = machine::cpu_seconds();
        let packing = [packing.as_slice()];
        let answer = server.perform_online_computation_simplepir(row.as_slice(), &prepared, &packing, None);
        let seconds = machine::cpu_seconds() - began;
        if client.decode_response_simplepir_raw(seed, &answer) == expected {
            Ok(seconds)
        } else {
            Err("an answer of YPIR is wrong".into())
        }
    };
    measure(&mut spiral, &mut ypir)
}
