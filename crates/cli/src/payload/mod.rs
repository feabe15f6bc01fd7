//! `acquaint payload`.

pub(crate) mod plot;
mod raster;
mod svg;

use acquaint_client::discovery::WeakLength;
use acquaint_client::discovery::measure::{self, Measured};
use acquaint_client::discovery::payload::{Page, Sealed};
use serde_json::{Value, json};

use crate::args::payload::Payload;
use crate::failure::Failure;
use crate::output;

pub(crate) fn run(args: &Payload) -> Result<(), Failure> {
    let page = Page {
        weak_bytes: args.sw,
        strong_bytes: args.ss,
        username_bytes: args.su,
        users: args.n,
        identifiers: args.a,
        discoverable: args.f,
        contacts: args.u,
        known: args.b,
        weak_hashes: args.p,
        possible: args.possible.unwrap_or(f64::INFINITY),
    };
    // Before anything is measured, which may take a while.
    let plot =
        args.plot.as_deref().map(|file| Ok::<_, Failure>((file, plot::Format::of(file)?))).transpose()?;
    let sealed = sealed(&page, args)?;
    let measured = Both::of(&page, sealed.as_ref(), args)?;
    if let Some((file, format)) = plot {
        plot::draw(file, format, &page, args)?;
        output::note(&format!("Drawn: {}.", file.display()));
    }
    if args.json {
        return output::json(&as_json(&page, sealed.as_ref(), &measured));
    }
    for row in rows(args, &page, sealed.as_ref().ok(), &measured) {
        output::line(&row)?;
    }
    for why in [&measured.weak, &measured.sealed].into_iter().filter_map(|outcome| outcome.as_ref().err()) {
        output::note(why);
    }
    Ok(())
}

/// The sealed profile over the same directory, or why there is none of that size.
fn sealed(page: &Page, args: &Payload) -> Result<Result<Sealed, String>, Failure> {
    // More than two times the wanted candidates are under a prefix only where it cannot be longer.
    let is_vast = page.listings() >= f64::from(args.k.max(1)) * 33_f64.exp2();
    match Sealed::new(page, args.k, args.l) {
        Ok(sealed) => Ok(Ok(sealed)),
        Err(_) if is_vast => {
            Ok(Err("Sealed buckets are not reckoned: --n is too large, and a prefix of 32 bits \
                                     would have buckets of more than 65535 slots."
                .to_owned()))
        }
        Err(error) => Err(format!("--k: {error}").into()),
    }
}

/// What was measured, or why it was not.
struct Both {
    weak: Result<Measured, String>,
    sealed: Result<Measured, String>,
}

impl Both {
    fn of(page: &Page, sealed: Result<&Sealed, &String>, args: &Payload) -> Result<Self, Failure> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "neither is below 0, and what is beyond the largest becomes that"
        )]
        let (contacts, listings) = (page.contacts.round() as usize, page.listings().round() as u64);
        let weak = match weak_length(page.weak_hashes) {
            _ if contacts > measure::MAX_CONTACTS => Err(too_many_contacts()),
            None => Err("Weak hashes are not measured: this build's have four digits (--p 65536) or six \
                         (--p 16777216)."
                .to_owned()),
            Some(_) if listings > measure::MAX_LISTINGS => Err(format!(
                "Weak hashes are not measured: there are more than {} listings.",
                measure::MAX_LISTINGS
            )),
            Some(_) if measure::name_bytes(page) > measure::MAX_NAME_BYTES => {
                Err("Weak hashes are not measured: the usernames of an answer are more than 64 MiB."
                    .to_owned())
            }
            Some(length) => Ok(measure::rocketchat(page, length)?),
        };
        let sealed = if contacts > measure::MAX_CONTACTS {
            Err(too_many_contacts())
        } else {
            match sealed {
                Ok(sealed) => Ok(measure::sealed(contacts, sealed.layout, args.l)?),
                Err(why) => Err(why.clone()),
            }
        };
        Ok(Self { weak, sealed })
    }
}

fn too_many_contacts() -> String {
    format!("Not measured: there are more than {} contacts.", measure::MAX_CONTACTS)
}

fn weak_length(weak_hashes: f64) -> Option<WeakLength> {
    [(65_536.0, 4), (16_777_216.0, 6)]
        .into_iter()
        .find_map(|(hashes, digits)| (weak_hashes == hashes).then(|| WeakLength::new(digits)).flatten())
}

/// The table.
fn rows(args: &Payload, page: &Page, sealed: Option<&Sealed>, measured: &Both) -> Vec<String> {
    let bytes = |outcome: &Result<Measured, String>, pick: fn(&Measured) -> u64| {
        outcome.as_ref().map_or_else(|_| "-".to_owned(), |measured| grouped(&pick(measured).to_string()))
    };
    let possible = args.possible.map_or_else(|| "not given: y = 0".to_owned(), number);
    let mut rows = vec!["Rocket.Chat's page, with its symbols".to_owned()];
    let symbols = [
        ("sw", number(page.weak_bytes), "bytes of a weak hash"),
        ("ss", number(page.strong_bytes), "bytes of a strong hash"),
        ("su", number(page.username_bytes), "bytes of a username"),
        ("n", number(page.users), "users"),
        ("a", number(page.identifiers), "identifiers of a user"),
        ("f", number(page.discoverable), "part of the users that may be found"),
        ("u", number(page.contacts), "contacts of a client"),
        ("b", number(page.known), "part of the contacts that may be found"),
        ("p", number(page.weak_hashes), "possible weak hashes"),
        ("", possible, "possible identifiers"),
        ("d", number(page.d()), "users that may be found"),
        ("c", number(page.c()), "listings under a weak hash"),
        ("y", number(page.y()), "chance to meet others' listings, by the page"),
    ];
    rows.extend(symbols.map(|(symbol, value, what)| format!("  {symbol:<3} {value:>16}  {what}")));
    let cut = |pick: &dyn Fn(&Sealed) -> String| sealed.map_or_else(|| "-".to_owned(), pick);
    rows.push("Sealed buckets over the same directory".to_owned());
    let symbols = [
        ("k", args.k.to_string(), "candidates wanted under a prefix"),
        ("l", args.l.to_string(), "bytes of a name in an entry"),
        ("B", cut(&|sealed| sealed.layout.prefix_bits.to_string()), "bits of a prefix"),
        ("S", cut(&|sealed| sealed.layout.slots.to_string()), "slots of a bucket"),
        ("w", cut(&|sealed| number(sealed.buckets())), "buckets that are asked for"),
    ];
    rows.extend(symbols.map(|(symbol, value, what)| format!("  {symbol:<3} {value:>16}  {what}")));
    rows.push(format!("{:<22}{:>15}{:>15}{:>12}", "bytes", "request", "response", "requests"));
    let reckoned = |name: &str, request: f64, response: f64| {
        format!("  {name:<20}{:>15}{:>15}{:>12}", number(request.round()), number(response.round()), "")
    };
    let counted = |name: &str, outcome: &Result<Measured, String>| {
        let requests =
            outcome.as_ref().map_or_else(|_| "-".to_owned(), |measured| measured.requests.to_string());
        let [sent, received] =
            [bytes(outcome, |measured| measured.sent), bytes(outcome, |measured| measured.received)];
        format!("  {name:<20}{sent:>15}{received:>15}{requests:>12}")
    };
    rows.extend([
        reckoned("page, as written", page.request(), page.response_as_written()),
        reckoned("page, reckoned", page.request(), page.response()),
        counted("page, measured", &measured.weak),
        format!(
            "  {:<20}{:>15}{:>15}{:>12}",
            "sealed, reckoned",
            cut(&|sealed| number(sealed.request().round())),
            cut(&|sealed| number(sealed.response().round())),
            ""
        ),
        counted("sealed, measured", &measured.sealed),
    ]);
    rows
}

fn as_json(page: &Page, sealed: Result<&Sealed, &String>, measured: &Both) -> Value {
    let counted = |outcome: &Result<Measured, String>| match outcome {
        Ok(measured) => json!({
            "requests": measured.requests, "request": measured.sent, "response": measured.received,
        }),
        Err(why) => json!({ "not_measured": why }),
    };
    let sealed = match sealed {
        Ok(sealed) => json!({
            "prefix_bits": sealed.layout.prefix_bits, "slots": sealed.layout.slots, "w": sealed.buckets(),
            "bucket_bytes": sealed.bucket_bytes(), "request": sealed.request(), "response": sealed.response(),
        }),
        Err(why) => json!({ "not_reckoned": why }),
    };
    json!({
        "page": {
            "sw": page.weak_bytes, "ss": page.strong_bytes, "su": page.username_bytes, "n": page.users,
            "a": page.identifiers, "f": page.discoverable, "u": page.contacts, "b": page.known,
            "p": page.weak_hashes, "d": page.d(), "c": page.c(), "y": page.y(),
            "request": page.request(), "response": page.response(), "response_as_written": page.response_as_written(),
        },
        "sealed": sealed,
        "measured": { "page": counted(&measured.weak), "sealed": counted(&measured.sealed) },
    })
}

/// A number for a person: with spaces between thousands, and up to three digits behind the point.
fn number(value: f64) -> String {
    if value != 0.0 && value.abs() < 0.001 {
        return format!("{value:.2e}");
    }
    let text = format!("{value:.3}");
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let rest = rest.trim_end_matches('0');
    if rest.is_empty() { grouped(whole) } else { format!("{}.{rest}", grouped(whole)) }
}

fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        for (value, text) in [
            (0.0, "0"),
            (17_089.843_75, "17 089.844"),
            (65_536.0, "65 536"),
            (0.1, "0.1"),
            (1e9, "1 000 000 000"),
            (999.999_9, "1 000"),
            (0.000_16, "1.60e-4"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
