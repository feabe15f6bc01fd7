use acquaint_custody::remote::{RemoteCustody, RemoteOptions, ServeOptions, Server};
use acquaint_custody::{KeyCustody, Purpose};

use crate::softhsm::alone;
use crate::support::{PIN, config, custody, key, told};

/// Formats whatever can be formatted and searches it for what must not be in it.
#[test]
fn nothing_that_can_be_printed_holds_a_secret() {
    alone("secrets::nothing_that_can_be_printed_holds_a_secret", |hsm| {
        let custody = custody(hsm, "acquaint");
        let path = hsm.config().with_file_name("custody.sock");
        let mut text =
            format!("{custody:?} {:#?} {:?} {:#?}", custody, custody.token(), config(hsm, "acquaint"));
        text += &format!("{:?}", custody.token().list());
        let server = Server::bind(&path, ServeOptions::default()).unwrap();
        let stop = server.stopper();
        std::thread::scope(|scope| {
            scope.spawn(|| server.serve(&custody, &|_| ()));
            let remote = RemoteCustody::connect(RemoteOptions::new(path.clone())).unwrap();
            text += &format!("{remote:?} {:#?}", RemoteOptions::new(path.clone()));
            // An error of every kind that can be had, from here and from over there.
            let absent = key(Purpose::Pair, 9);
            for asked in [&custody as &dyn KeyCustody, &remote] {
                text += &told(&asked.hmac(absent, &[b"x"]).unwrap_err());
                text += &told(&asked.open(Purpose::Seal, b"", &[2; 60]).unwrap_err());
                text += &told(&asked.seal(Purpose::Pair, b"", b"x").unwrap_err());
                text += &format!("{:?}", asked.stretching(key(Purpose::Pair, 1)).unwrap());
            }
            std::fs::rename(hsm.tokens(), hsm.tokens().with_file_name("away")).unwrap();
            std::fs::create_dir(hsm.tokens()).unwrap();
            cryptoki::context::Pkcs11::new(hsm.module()).unwrap().finalize().unwrap();
            for asked in [&custody as &dyn KeyCustody, &remote] {
                text += &told(&asked.hmac(key(Purpose::Pair, 1), &[b"x"]).unwrap_err());
            }
            stop.stop();
        });
        let mut secrets = vec![PIN.to_owned(), crate::softhsm::SO_PIN.to_owned()];
        for purpose in [Purpose::Pair, Purpose::Number] {
            let pepper = *custody.stretching(key(purpose, 1)).unwrap().pepper.as_bytes();
            let spelled = format!("{pepper:?}");
            secrets.extend([hex::encode(pepper), spelled[1..20].to_owned()]);
        }
        for secret in secrets {
            assert!(!text.to_lowercase().contains(&secret.to_lowercase()), "a secret is printed: {text}");
        }
    });
}
