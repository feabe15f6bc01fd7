//! Private lookup through the real program: what is found, kept, charged and told.

use acquaint_testkit::{did, number};
use serde_json::Value;

use crate::directory::{called, listed, server_with, well};
use crate::support::{Server, Told};

/// Each account has quota for five rounds.
fn lookup(server: &Server, key: &str, (mode, who): (&str, usize), words: &[&str]) -> Told {
    called(server, key, who, &[&["lookup", "--mode", mode], words].concat())
}

fn json(told: &Told) -> Value {
    serde_json::from_str(&told.out).unwrap()
}

#[test]
fn people_are_found_privately_and_a_book_spares_evaluations() {
    let (mut server, key) = server_with(&[
        ("ACQUAINT_PRIVATE_LOOKUP__PSM", "true"),
        ("ACQUAINT_PRIVATE_LOOKUP__PIR", "true"),
        ("ACQUAINT_PRIVATE_LOOKUP__SHARD_RECORDS", "1000"),
    ]);
    listed(&server, &key, 1);
    for (mode, who) in [("psm", 8), ("pir", 9)] {
        let asked = (mode, who);
        let book = server.home().join(format!("{mode}.book"));
        let people = [&number(1), &number(2), "--book", book.to_str().unwrap()];
        let first = well(lookup(&server, &key, asked, &people));
        assert_eq!(first.out, format!("{}\t{}\n", number(1), did(1)), "{first:?}");
        assert!(
            first.err.contains("1 of 2 contacts can be found") && first.err.contains("NOTE"),
            "{first:?}"
        );
        assert_eq!(first.err.contains("strangers' records"), mode == "pir", "{first:?}");
        let again = json(&well(lookup(&server, &key, asked, &[&people[..], &["--json"]].concat())));
        assert_eq!((&again["asked"], &again["fresh"], &again["queries"]), (&0.into(), &2.into(), &0.into()));
        let one_more = [number(3).as_str(), "--json", "--book", book.to_str().unwrap()].map(str::to_owned);
        let one_more: Vec<&str> = one_more.iter().map(String::as_str).collect();
        let one_more = json(&well(lookup(&server, &key, asked, &one_more)));
        let evaluated = if mode == "psm" { 10 } else { 0 };
        assert_eq!((&one_more["asked"], &one_more["queries"]), (&1.into(), &10.into()), "{one_more}");
        assert_eq!((&one_more["evaluated"], &one_more["unpadded"]), (&evaluated.into(), &false.into()));
        assert_eq!(one_more["first_use"], false, "the book has the key");
        // Another mode's book, another index's, another key.
        let other = if mode == "psm" { "pir" } else { "psm" };
        let refused = lookup(&server, &key, (other, who), &people);
        assert!(refused.code == Some(1) && refused.err.contains("another profile"), "{refused:?}");
        let refused = lookup(&server, &key, asked, &[&people[..], &["--index", "1"]].concat());
        assert!(refused.code == Some(1) && refused.err.contains("another index"), "{refused:?}");
        let strange = ["--provider-key", &"A".repeat(43), &number(1)].map(str::to_owned);
        let strange: Vec<&str> = strange.iter().map(String::as_str).collect();
        let refused = lookup(&server, &key, asked, &strange);
        assert!(refused.code == Some(1) && refused.err.contains("not trusted"), "{refused:?}");
        // Nobody has a second account.
        let second = well(lookup(&server, &key, asked, &[&number(1), "--index", "1"]));
        assert_eq!(second.out, "", "{second:?}");
    }
    server.kill();
    server.start();
    let after = well(lookup(&server, &key, ("psm", 7), &[&number(1)]));
    assert_eq!(after.out.lines().count(), 1, "its tables are made again: {after:?}");
    well(called(&server, &key, 1, &["directory", "withdraw", "--all"]));
    let gone = well(lookup(&server, &key, ("psm", 7), &[&number(1)]));
    assert_eq!(gone.out, "", "{gone:?}");
}

#[test]
fn a_server_without_the_mode_says_so() {
    let (server, key) = server_with(&[("ACQUAINT_PRIVATE_LOOKUP__PSM", "true")]);
    let refused = lookup(&server, &key, ("pir", 7), &[&number(1)]);
    assert!(
        refused.code == Some(1) && refused.err.contains("no private lookup of mode `pir`"),
        "{refused:?}"
    );
    let (server, key) = server_with(&[]);
    let refused = lookup(&server, &key, ("psm", 7), &[&number(1)]);
    assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{refused:?}");
    // Whatever it says, it is no success and names no number.
    assert!(!refused.err.contains(&number(1)[1..]), "{refused:?}");
}

#[test]
fn a_lookup_that_fails_tells_what_it_did_and_who_was_found() {
    let (server, key) = server_with(&[("ACQUAINT_PRIVATE_LOOKUP__PSM", "true")]);
    listed(&server, &key, 1);
    let book = server.home().join("psm.book");
    // 11 contacts are asked for as 50 are, which is all of the quota.
    let people: Vec<String> = (1..=12).map(number).collect();
    let with = |people: &[String], more: &[&str]| {
        let people = people.iter().map(String::as_str);
        let book = ["--book", book.to_str().unwrap()];
        let words: Vec<&str> = people.chain(book).chain(more.iter().copied()).collect();
        lookup(&server, &key, ("psm", 7), &words)
    };
    let first = json(&well(with(&people[..11], &["--json"])));
    assert_eq!((&first["evaluated"], &first["asked"]), (&50.into(), &11.into()), "{first}");
    for (more, unpadded) in [(&["--json"][..], false), (&["--json", "--unpadded"], true)] {
        let refused = with(&people, more);
        assert_eq!(refused.code, Some(1), "{refused:?}");
        let told = json(&refused);
        assert_eq!((&told["asked"], &told["queries"], &told["fresh"]), (&0.into(), &10.into(), &11.into()));
        assert_eq!((&told["unpadded"], &told["evaluated"]), (&unpadded.into(), &0.into()), "{told}");
        assert_eq!(told["found"][0]["account"], did(1), "{told}");
    }
    let refused = with(&people, &["--unpadded"]);
    assert_eq!((refused.code, refused.out), (Some(1), format!("{}\t{}\n", number(1), did(1))));
    assert!(refused.err.contains("learnt how many contacts"), "{}", refused.err);
    let quiet = with(&people, &[]);
    assert!(quiet.code == Some(1) && !quiet.err.contains("learnt how many contacts"), "{quiet:?}");
    // Options of these modes do nothing without one.
    for words in [&["--max-shards", "3"][..], &["--unpadded"], &["--index", "1"]] {
        let refused = called(&server, &key, 7, &[&["lookup", &number(1)], words].concat());
        assert!(refused.code == Some(1) && refused.err.contains("does nothing"), "{refused:?}");
    }
}
