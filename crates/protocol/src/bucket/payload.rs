//! What a lookup costs in bytes: the page's arithmetic with its symbols (seed 003, "Payload Calculation"), and the sealed
//! profile's.

use super::layout::{self, Layout, LayoutError};
use super::sealed::TAG_BYTES;

/// The page's symbols.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Page {
    /// `sw`: bytes of a weak hash.
    pub weak_bytes: f64,
    /// `ss`: bytes of a strong hash.
    pub strong_bytes: f64,
    /// `su`: bytes of a username, in the mean.
    pub username_bytes: f64,
    /// `n`: users of the server.
    pub users: f64,
    /// `a`: numbers and addresses of a user, in the mean.
    pub identifiers: f64,
    /// `f`: which part of the users may be found.
    pub discoverable: f64,
    /// `u`: contacts of the client.
    pub contacts: f64,
    /// `b`: which part of the contacts is to be found.
    pub known: f64,
    /// `p`: possible weak hashes.
    pub weak_hashes: f64,
    /// All possible numbers and addresses, for `y`; infinite, as the page's example takes them, makes `y` 0.
    pub possible: f64,
}

impl Default for Page {
    /// The page's example.
    fn default() -> Self {
        Self {
            weak_bytes: 6.0,
            strong_bytes: 40.0,
            username_bytes: 10.0,
            users: 100_000.0,
            identifiers: 2.5,
            discoverable: 0.8,
            contacts: 1_000.0,
            known: 0.1,
            weak_hashes: 65_536.0,
            possible: f64::INFINITY,
        }
    }
}

impl Page {
    /// `d = n · f`: users that may be found.
    #[must_use]
    pub fn d(&self) -> f64 {
        self.users * self.discoverable
    }

    /// `c = max(d · a / p, 1)`: listings under a weak hash, in the mean.
    #[must_use]
    pub fn c(&self) -> f64 {
        (self.d() * self.identifiers / self.weak_hashes).max(1.0)
    }

    /// `y = (c − 1) · d / (all possible identifiers)`: how likely a contact without an account meets others' listings.
    #[must_use]
    pub fn y(&self) -> f64 {
        (self.c() - 1.0) * self.d() / self.possible
    }

    /// `u · sw`: bytes of the request.
    #[must_use]
    pub fn request(&self) -> f64 {
        self.contacts * self.weak_bytes
    }

    /// `u · (b + (1 − b) · y) · c · (sw + ss + su)`: bytes of the response.
    #[must_use]
    pub fn response(&self) -> f64 {
        let entry = self.weak_bytes + self.strong_bytes + self.username_bytes;
        self.contacts * (self.known + (1.0 - self.known) * self.y()) * self.c() * entry
    }

    /// As [`response`](Self::response), with `c` rounded to two digits behind the point before it is used, as the page has it:
    /// 17080 in its example.
    #[must_use]
    pub fn response_as_written(&self) -> f64 {
        self.response() / self.c() * (self.c() * 100.0).round() / 100.0
    }

    /// Listings of the directory: `d · a`.
    #[must_use]
    pub fn listings(&self) -> f64 {
        self.d() * self.identifiers
    }
}

/// The sealed profile in the same terms. As on the page, what does not grow with the contacts is left out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sealed {
    /// `u`: contacts of the client.
    pub contacts: f64,
    /// `l`: bytes of an account's name in an entry.
    pub account_bytes: f64,
    /// How the directory is cut.
    pub layout: Layout,
}

/// Bytes of an element in JSON: 43 characters, two quotation marks and a comma.
const ELEMENT: f64 = 46.0;

impl Sealed {
    /// Over the directory of `page`, with at least `candidates` under a prefix and names of `account_bytes`.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub fn new(page: &Page, candidates: u16, account_bytes: u16) -> Result<Self, LayoutError> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "what is below 0 or beyond 2⁶⁴ becomes that"
        )]
        let listings = page.listings() as u64;
        let layout = layout::choose(listings, candidates)?;
        Ok(Self { contacts: page.contacts, account_bytes: f64::from(account_bytes), layout })
    }

    /// `w = 2ᵇ · (1 − (1 − 2⁻ᵇ)ᵘ)`: buckets that are asked for, which is fewer than contacts where some share one.
    #[must_use]
    pub fn buckets(&self) -> f64 {
        let all = f64::from(self.layout.prefix_bits).exp2();
        if all == 1.0 {
            return self.contacts.min(1.0);
        }
        -all * (self.contacts * (-all.recip()).ln_1p()).exp_m1()
    }

    /// `s · (l + 16)`: bytes of a bucket.
    #[must_use]
    pub fn bucket_bytes(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "16")]
        let tag = TAG_BYTES as f64;
        f64::from(self.layout.slots) * (self.account_bytes + tag)
    }

    /// `u · 46`: bytes of an OPRF request, and of its answer.
    #[must_use]
    pub fn oprf(&self) -> f64 {
        self.contacts * ELEMENT
    }

    /// `w · (digits of a prefix + 1)`: bytes of a request for buckets.
    #[must_use]
    pub fn buckets_request(&self) -> f64 {
        let largest = f64::from(self.layout.prefix_bits).exp2() - 1.0;
        self.buckets() * (largest.max(1.0).log10().floor() + 2.0)
    }

    /// `w · s · (l + 16)`: bytes of the buckets.
    #[must_use]
    pub fn buckets_response(&self) -> f64 {
        self.buckets() * self.bucket_bytes()
    }

    /// Bytes of all requests when nothing is known from before.
    #[must_use]
    pub fn request(&self) -> f64 {
        self.oprf() + self.buckets_request()
    }

    /// Bytes of all responses when nothing is known from before.
    #[must_use]
    pub fn response(&self) -> f64 {
        self.oprf() + self.buckets_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() <= other.abs() * 1e-9
    }

    #[test]
    fn the_pages_example_comes_out() {
        let page = Page::default();
        assert!(close(page.d(), 80_000.0));
        // The page rounds c to 3.05, and with that the response to 17080.
        assert_eq!(format!("{:.2}", page.c()), "3.05");
        assert!(close(page.c(), 200_000.0 / 65_536.0));
        assert!(page.y() == 0.0);
        assert!(close(page.request(), 6_000.0));
        assert!(close(page.response_as_written(), 17_080.0));
        assert!(close(page.response(), 17_089.843_75));
    }

    #[test]
    fn every_symbol_counts() {
        let page = Page { possible: 1e9, ..Page::default() };
        assert!(close(page.y(), (200_000.0 / 65_536.0 - 1.0) * 80_000.0 / 1e9));
        let met = 0.1 + 0.9 * page.y();
        assert!(close(page.response(), 1_000.0 * met * (200_000.0 / 65_536.0) * 56.0));
        let few = Page { users: 100.0, ..Page::default() };
        assert!(few.c() == 1.0 && few.y() == 0.0, "a weak hash is never thought empty");
        assert!(close(few.response(), 1_000.0 * 0.1 * 56.0));
        for (change, request, response) in [
            (Page { weak_bytes: 12.0, ..Page::default() }, 2.0, 62.0 / 56.0),
            (Page { strong_bytes: 80.0, ..Page::default() }, 1.0, 96.0 / 56.0),
            (Page { username_bytes: 20.0, ..Page::default() }, 1.0, 66.0 / 56.0),
            (Page { users: 200_000.0, ..Page::default() }, 1.0, 2.0),
            (Page { identifiers: 5.0, ..Page::default() }, 1.0, 2.0),
            (Page { discoverable: 0.4, ..Page::default() }, 1.0, 0.5),
            (Page { contacts: 500.0, ..Page::default() }, 0.5, 0.5),
            (Page { known: 0.2, ..Page::default() }, 1.0, 2.0),
            (Page { weak_hashes: 131_072.0, ..Page::default() }, 1.0, 0.5),
        ] {
            assert!(close(change.request(), 6_000.0 * request), "{change:?}");
            assert!(close(change.response(), Page::default().response() * response), "{change:?}");
        }
    }

    #[test]
    fn the_sealed_profile_is_reckoned_alike() {
        let sealed = Sealed::new(&Page::default(), 100, 40).unwrap();
        assert_eq!(sealed.layout, layout::choose(200_000, 100).unwrap());
        assert_eq!(sealed.layout.prefix_bits, 10);
        // 1000 contacts fall into 1024 buckets.
        let expected = 1024.0 * (1.0 - (1.0_f64 - 1.0 / 1024.0).powi(1000));
        assert!((sealed.buckets() - expected).abs() < 1e-6, "{}", sealed.buckets());
        assert!(close(sealed.bucket_bytes(), f64::from(sealed.layout.slots) * 56.0));
        assert!(close(sealed.request(), 46_000.0 + sealed.buckets() * 5.0));
        assert!(close(sealed.response(), 46_000.0 + sealed.buckets() * sealed.bucket_bytes()));
        let small = Sealed::new(&Page { users: 10.0, ..Page::default() }, 100, 40).unwrap();
        assert!(close(small.buckets(), 1.0) && close(small.buckets_request(), 2.0));
        let huge = Sealed::new(&Page { users: 1e12, ..Page::default() }, 500, 40).unwrap();
        assert!((huge.buckets() - 1_000.0).abs() < 1.0, "{}", huge.buckets());
    }
}
