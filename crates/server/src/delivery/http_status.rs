//! What an HTTP exchange means for a code, where the provider's documentation says no more.

use super::{Failure, Fate};
use crate::outbound::{Answer, Fault, is_certificate};

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::NotSent(reason, source) => {
                // A certificate is the same a moment later.
                let fate = if is_certificate(&*source) { Fate::Refused } else { Fate::Unavailable };
                Self::new(fate, reason).by(source)
            }
            Fault::NoAnswer(reason, source) => Self::new(Fate::Unknown, reason).by(source),
        }
    }
}

/// What a status other than 2xx means (RFC 9110, section 15; 429: RFC 6585). A 4xx says that the request was not
/// carried out. A 5xx other than 503 can come after the message was taken, or from a gateway that does not know.
pub(super) fn failure(answer: &Answer) -> Failure {
    let (fate, reason) = match answer.status.as_u16() {
        300..=399 => (Fate::Refused, "it answers with a redirect: set the URL that it names"),
        401 | 403 => (Fate::Refused, "it refuses the credentials, or what they are used for"),
        404 | 405 | 410 => (Fate::Refused, "it has nothing at this URL: are URL and account right?"),
        402 => (Fate::Refused, "it wants to be paid: the account's balance is used up"),
        429 => (Fate::Unavailable, "it takes no more requests for now (429): too many were made"),
        400..=499 => (Fate::Refused, "it refuses the request"),
        503 => (Fate::Unavailable, "it is not available (503)"),
        502 | 504 => (Fate::Unknown, "a gateway before it had no answer (502 or 504)"),
        _ => (Fate::Unknown, "it failed with an error of its own"),
    };
    // A refusal by a web page is mostly one by something in between.
    let by_page = fate == Fate::Refused && answer.body.is_page();
    Failure::new(fate, if by_page { answer.body.fault() } else { reason })
}
