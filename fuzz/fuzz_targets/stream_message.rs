//! A message of the network's stream, which anybody can have put there.

#![no_main]

use acquaint_server::read_stream_message;
use acquaint_service::NetworkEvent;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((at, event)) = read_stream_message(bytes) else { return };
    // Another reader of the same message finds the same in it.
    // What is passed over is not looked into: escapes that stand for nothing may be there.
    let Ok(message) = serde_json::from_slice::<serde_json::Value>(bytes) else { return };
    assert_eq!(message["time_us"], at);
    let commit = &message["commit"];
    match event {
        Some(NetworkEvent::Follow { account, record, subject }) => {
            assert_eq!(message["did"], account.as_str());
            assert_eq!((&commit["rkey"], &commit["record"]["subject"]), (&record.into(), &subject.as_str().into()));
        }
        Some(NetworkEvent::Unfollow { account, record }) => {
            assert_eq!((&message["did"], &commit["rkey"]), (&account.as_str().into(), &record.into()));
        }
        Some(NetworkEvent::Gone { account }) => {
            assert_eq!((&message["did"], &message["account"]["active"]), (&account.as_str().into(), &false.into()));
        }
        None => {}
    }
});
