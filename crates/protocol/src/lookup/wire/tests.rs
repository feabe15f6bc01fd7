use serde_json::Value;

use super::*;
use crate::bucket::Bytes;
use crate::lookup::parameters::{MAX_COLUMNS, MAX_ROWS, MAX_SHARD_BITS, Parameters};
use crate::lookup::{
    ANSWERS, BATCH_SLOTS, CONTENT_BYTES, Kind, Mode, RECORD_BYTES, SLOT_BYTES, SLOT_RECORDS, SLOTS,
};

const QUERY_BYTES: usize = 5;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../../vectors/lookup/v1.json")).unwrap()
}

fn layouts() -> Value {
    serde_json::from_str(include_str!("../../../../../docs/protocol/lookup.json")).unwrap()
}

fn request_id() -> RequestId {
    std::array::from_fn(|at| u8::try_from(at).unwrap())
}

fn oprf_request() -> OprfRequest {
    OprfRequest { epoch: 7, request: request_id(), elements: vec![[1; 32], [2; 32]] }
}

fn oprf_answer() -> OprfAnswer {
    let proof = std::array::from_fn(|at| u8::try_from(at).unwrap());
    OprfAnswer { epoch: 7, elements: vec![[1; 32], [2; 32]], proof }
}

fn query_header() -> QueryHeader {
    QueryHeader {
        mode: Mode::Pir,
        epoch: 7,
        layout: 3,
        kind: Kind::Batch,
        shard: 5,
        keys: request_id().map(|byte| byte + 16),
        request: request_id(),
        count: 3,
    }
}

/// Encodes what the vectors have.
fn encoded(message: &str) -> Vec<u8> {
    match message {
        "oprf_request" => oprf_request().encode().unwrap(),
        "oprf_answer" => oprf_answer().encode().unwrap(),
        "keys_answer" => KeysAnswer { id: keys_id(b"evaluation keys"), expires_at: 1_790_086_400 }.encode(),
        "query_request" => [query_header().encode(), [[9; 5], [8; 5], [7; 5]].concat()].concat(),
        "answer_header" => AnswerHeader { count: 3 }.encode().to_vec(),
        other => panic!("{other}"),
    }
}

/// Decodes a message and encodes it again.
fn again(message: &str, bytes: &[u8]) -> Result<Vec<u8>, WireError> {
    Ok(match message {
        "oprf_request" => OprfRequest::decode(bytes)?.encode()?,
        "oprf_answer" => OprfAnswer::decode(bytes)?.encode()?,
        "keys_answer" => KeysAnswer::decode(bytes)?.encode(),
        "query_request" => {
            let request = QueryRequest::decode(bytes, QUERY_BYTES)?;
            let queries: Vec<&[u8]> = request.queries().collect();
            assert_eq!(queries.len(), usize::from(request.header.count));
            [request.header.encode(), queries.concat()].concat()
        }
        "answer_header" => AnswerHeader::decode(bytes)?.encode().to_vec(),
        other => panic!("{other}"),
    })
}

const MESSAGES: [&str; 5] = ["oprf_request", "oprf_answer", "keys_answer", "query_request", "answer_header"];

#[test]
fn messages_are_those_of_another_implementation() {
    let messages = &vectors()["messages"];
    assert_eq!(messages["keys"], hex::encode(b"evaluation keys"));
    for message in MESSAGES {
        let bytes = encoded(message);
        assert_eq!(messages[message], hex::encode(&bytes), "{message}");
        assert_eq!(again(message, &bytes), Ok(bytes), "{message}");
    }
    assert_eq!(encoded("oprf_answer").len(), OprfAnswer::encoded_bytes(2));
    assert_eq!(encoded("keys_answer").len(), KEYS_ANSWER_BYTES);
    assert_eq!(query_header().encode().len(), QUERY_HEADER_BYTES);
}

#[test]
fn what_is_no_message_is_refused_and_the_field_named() {
    let vectors = vectors();
    let refused = vectors["refused_messages"].as_array().unwrap();
    assert_eq!(refused.len(), 48);
    for vector in refused {
        let message = vector["message"].as_str().unwrap();
        let bytes = hex::decode(vector["bytes"].as_str().unwrap()).unwrap();
        let error = again(message, &bytes).unwrap_err().to_string();
        assert_eq!(vector["error"], error, "{message} {vector}");
    }
    for message in MESSAGES {
        let bytes = encoded(message);
        for length in 0..bytes.len() {
            assert!(
                matches!(again(message, &bytes[..length]), Err(WireError::Truncated(_))),
                "{message} {length}"
            );
        }
    }
    let many = OprfRequest { elements: vec![[1; 32]; 65_536], ..oprf_request() };
    assert!(matches!(many.encode(), Err(WireError::Value { field: "count", .. })));
    assert!(matches!(
        OprfAnswer { elements: vec![], ..oprf_answer() }.encode(),
        Err(WireError::Value { .. })
    ));
    // A length of queries that cannot be.
    let header = query_header().encode();
    assert_eq!(QueryRequest::decode(&header, 0).unwrap().queries().len(), 0);
    assert_eq!(QueryRequest::decode(&header, usize::MAX), Err(WireError::Truncated("query")));
}

/// Writes a layout of the document with the values of its fields.
fn written(layout: &Value, values: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    for field in layout.as_array().unwrap() {
        let name = field["name"].as_str().unwrap();
        let value = field.get("value").unwrap_or(&values[name]);
        let times = match field.get("count") {
            None => vec![value.clone()],
            Some(count) => {
                let items = value.as_array().unwrap().clone();
                assert_eq!(values[count.as_str().unwrap()], items.len(), "{name}");
                items
            }
        };
        for value in times {
            if let Some(fields) = field.get("fields") {
                bytes.extend(written(fields, &value));
                continue;
            }
            let one = match (&value, field["bytes"].as_u64()) {
                (Value::Number(number), Some(length)) => {
                    let all = number.as_u64().unwrap().to_be_bytes();
                    all[8 - usize::try_from(length).unwrap()..].to_vec()
                }
                (Value::String(text), _) if text.starts_with("hex:") => hex::decode(&text[4..]).unwrap(),
                (Value::String(text), _) => text.as_bytes().to_vec(),
                other => panic!("{name} {other:?}"),
            };
            if field.get("length").is_some() {
                bytes.push(u8::try_from(one.len()).unwrap());
            } else if let Some(length) = field["bytes"].as_u64() {
                assert_eq!(u64::try_from(one.len()).unwrap(), length, "{name}");
            }
            bytes.extend(one);
        }
    }
    bytes
}

#[test]
fn the_documents_layouts_are_what_is_written() {
    let document = layouts();
    let layouts = &document["layouts"];
    let hexed = |bytes: &[u8]| format!("hex:{}", hex::encode(bytes));
    let (id, keys) = (hexed(&request_id()), hexed(&query_header().keys));
    let elements = [hexed(&[1; 32]), hexed(&[2; 32])];
    let values = serde_json::json!({
        "oprf_request": { "epoch": 7, "request_id": id, "count": 2, "elements": elements },
        "oprf_answer": { "epoch": 7, "count": 2, "elements": elements, "proof": hexed(&oprf_answer().proof) },
        "keys_answer": { "keys_id": hexed(&keys_id(b"evaluation keys")), "expires_at": 1_790_086_400_u64 },
        "query_request": {
            "mode": 1, "epoch": 7, "layout": 3, "kind": 1, "shard": 5, "keys_id": keys, "request_id": id,
            "count": 3, "queries": [hexed(&[9; 5]), hexed(&[8; 5]), hexed(&[7; 5])],
        },
    });
    for message in ["oprf_request", "oprf_answer", "keys_answer", "query_request"] {
        assert_eq!(written(&layouts[message], &values[message]), encoded(message), "{message}");
    }
    let answers = serde_json::json!({ "count": 3, "answers": ["", "", ""] });
    assert_eq!(written(&layouts["query_answer"], &answers), encoded("answer_header"));

    for vector in vectors()["parameters"].as_array().unwrap() {
        let parameters: Parameters = serde_json::from_value(vector["parameters"].clone()).unwrap();
        let mut values = serde_json::to_value(&parameters.terms).unwrap();
        let Bytes(key) = parameters.terms.oprf_public_key;
        values["oprf_public_key"] = hexed(&key).into();
        values["count"] = parameters.terms.servers.len().into();
        assert_eq!(written(&layouts["signed_bytes"], &values), parameters.terms.signed_bytes().unwrap());
        assert_eq!(written(&layouts["scope"], &values), parameters.terms.scope().unwrap().as_bytes());
    }
}

#[test]
fn the_documents_numbers_are_ours() {
    let document = layouts();
    for mode in Mode::ALL {
        let wanted = serde_json::json!({ "number": mode.number(), "profile": mode.profile() });
        assert_eq!(document["modes"][usize::from(mode.number())], wanted);
    }
    assert_eq!(document["kinds"][usize::from(Kind::Batch.number())]["name"], "batch");
    let table = serde_json::json!({
        "slots": SLOTS, "answers": ANSWERS, "slot_bytes": SLOT_BYTES, "slot_records": SLOT_RECORDS,
        "record_bytes": RECORD_BYTES, "content_bytes": CONTENT_BYTES,
    });
    assert_eq!(document["table"], table);
    // Polynomials are alike, of the shard's tables and of its batch tables.
    let slot_bytes = SLOTS * SLOT_BYTES / BATCH_SLOTS;
    let table = serde_json::json!({
        "slots": BATCH_SLOTS, "answers": ANSWERS, "slot_bytes": slot_bytes,
        "slot_records": slot_bytes / RECORD_BYTES, "record_bytes": RECORD_BYTES,
    });
    assert_eq!(document["batch_table"], table);
    let limits = serde_json::json!({
        "rows": MAX_ROWS, "columns": MAX_COLUMNS, "shard_bits": MAX_SHARD_BITS, "elements": MAX_ELEMENTS,
    });
    assert_eq!(document["limits"], limits);
    for record in ["psm_record", "pir_record"] {
        let fields = document["layouts"][record].as_array().unwrap();
        let bytes: u64 = fields.iter().map(|field| field["bytes"].as_u64().unwrap()).sum();
        assert_eq!(usize::try_from(bytes).unwrap(), RECORD_BYTES);
    }
}
