//! The network's stream, on each store: follows stop matches from being counted, accounts that are gone are removed once
//! that is confirmed, and nothing is lost between two connections.

use std::time::Duration;

use acquaint_server::config::Config;
use acquaint_testkit::network::{Network, Status};
use acquaint_testkit::number;

use super::App;

/// An account's name as the directory gives it: 24 letters of base 32.
fn did(n: usize) -> String {
    let letters: String = format!("{n:02}").bytes().map(|digit| char::from(digit - b'0' + b'a')).collect();
    format!("did:plc:{}{letters}", "z".repeat(22))
}

fn reads(config: &mut Config, network: &Network) {
    config.network.jetstream_url = network.jetstream.clone();
    config.atproto.plc_url = network.url.clone();
    config.atproto.allow_private_addresses = true;
}

/// Looks until `look` says yes.
async fn until<F: Future<Output = bool>>(what: &str, look: impl Fn() -> F) {
    for _ in 0..3000 {
        if look().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within a minute");
}

async fn app(network: &Network) -> App {
    let app = App::start_with(|config| reads(config, network)).await;
    until("it subscribes", async || !network.subscriptions().is_empty()).await;
    app
}

/// Two people who have each other.
async fn matched(app: &App, one: usize, other: usize) {
    app.import(&did(one), &number(one), &[&number(other)]).await;
    app.import(&did(other), &number(other), &[&number(one)]).await;
}

async fn counted(app: &App, who: usize) -> Option<u32> {
    app.client.sync_status(&did(who)).await.unwrap().map(|status| status.matches)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_match_that_is_followed_is_counted_no_more() {
    let network = Network::start().await;
    let app = app(&network).await;
    matched(&app, 1, 2).await;
    matched(&app, 1, 3).await;
    assert_eq!((counted(&app, 1).await, counted(&app, 2).await), (Some(2), Some(1)));
    network.follow(10, &did(1), "a", Some(&did(2)));
    until("the follow counts", async || counted(&app, 1).await == Some(1)).await;
    assert_eq!(counted(&app, 2).await, Some(1), "she is not followed back");
    assert_eq!(app.matches(&did(1)).await.len(), 2, "both are listed");
    network.follow(11, &did(1), "a", None);
    until("it is taken back", async || counted(&app, 1).await == Some(2)).await;
    // Somebody else's record of the same key, a stranger's, and a record of another kind change nothing.
    network.follow(12, &did(2), "a", None);
    network.follow(13, &did(9), "b", Some(&did(1)));
    let block = format!(
        r#"{{"did":"{}","time_us":14,"kind":"commit","commit":{{"operation":"create",
        "collection":"app.bsky.graph.block","rkey":"c","record":{{"subject":"{}"}}}}}}"#,
        did(1),
        did(2)
    );
    network.say(14, &block);
    network.follow(15, &did(3), "d", Some(&did(1)));
    until("the last counts", async || counted(&app, 3).await == Some(0)).await;
    assert_eq!((counted(&app, 1).await, counted(&app, 2).await), (Some(2), Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_between_two_connections_and_over_a_restart_is_caught_up() {
    let network = Network::start().await;
    let app = app(&network).await;
    for other in 2..=4 {
        matched(&app, 1, other).await;
    }
    let day = 86_400_000_000;
    network.follow(day, &did(1), "a", Some(&did(2)));
    until("the first counts", async || counted(&app, 1).await == Some(2)).await;
    network.cut();
    network.follow(day + 1, &did(1), "b", Some(&did(3)));
    until("it catches up", async || counted(&app, 1).await == Some(1)).await;
    let again = network.subscriptions().pop().unwrap();
    assert!(again.contains("wantedCollections=app.bsky.graph.follow"), "{again}");
    assert!(again.contains(&format!("cursor={}", day - 5_000_000)), "five seconds back: {again}");
    network.follow(day + 2, &did(1), "c", Some(&did(4)));
    let app = app.restart_with(|_| {}).await;
    until("it catches up after a restart", async || counted(&app, 1).await == Some(0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_that_are_gone_are_removed_when_their_own_server_says_so() {
    let network = Network::start().await;
    let app = app(&network).await;
    for (who, status) in [
        (1, Status::Active),
        (2, Status::Inactive("deactivated")),
        (3, Status::Inactive("deleted")),
        (4, Status::NotFound),
        (5, Status::Tombstone),
        (6, Status::Inactive("takendown")),
        (7, Status::Failing),
        (8, Status::Active),
        (9, Status::Unknown),
    ] {
        network.account(&did(who), status);
        matched(&app, who, who + 10).await;
    }
    for who in [1, 2, 3, 4, 5, 6, 7, 9] {
        network.gone(i64::try_from(who).unwrap(), &did(who), "deleted");
    }
    for who in 2..=5 {
        until("it is removed", async || counted(&app, who).await.is_none()).await;
        assert_eq!(app.matches(&did(who + 10)).await, Vec::<String>::new(), "and gone from others' matches");
    }
    until("all were asked", async || [1, 6, 7].iter().all(|who| network.asked(&did(*who)) > 0)).await;
    for who in [1, 6, 7, 8, 9] {
        assert_eq!(counted(&app, who).await, Some(1), "the stream alone is not believed");
    }
    assert_eq!(network.asked(&did(8)), 0);
    // A server that failed is asked again, also after a restart.
    network.account(&did(7), Status::Inactive("deleted"));
    let app = app.restart_with(|_| {}).await;
    app.clock.advance(Duration::from_secs(10 * 60));
    until("it is removed later", async || counted(&app, 7).await.is_none()).await;
    assert_eq!(counted(&app, 1).await, Some(1));
    assert!(network.asked(&did(1)) <= 2, "each connection can say it once more, and no more comes of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_says_anything_at_all_harms_nobody() {
    let network = Network::start().await;
    let app = app(&network).await;
    matched(&app, 1, 2).await;
    let deep = "[".repeat(10_000);
    let long = format!(r#"{{"did":"{}","time_us":1}}"#, "x".repeat(200_000));
    for message in ["", "null", "\u{0}", &deep, &long, r#"{"time_us":-9223372036854775808,"did":""}"#] {
        network.say(1, message);
    }
    network.follow(2, &did(1), "a", Some(&did(2)));
    until("it goes on", async || counted(&app, 1).await == Some(0)).await;
}
