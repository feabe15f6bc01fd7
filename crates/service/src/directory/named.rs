//! What the profiles need that answer by hashes of identifiers: an index that knows who is who. It is made by opening every
//! listing, so it is there only where such a profile is switched on.

use std::collections::HashMap;

use acquaint_protocol::bucket::matrix;
use acquaint_protocol::bucket::weak::{Strong, Weak, WeakLength};
use acquaint_protocol::identifier::Sii;
use acquaint_store::{Listing, ListingId, Millis, Revision};

use super::listing::{Content, Username};

/// What is found by a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The identifier's strong hash.
    pub strong: Strong,
    /// The account.
    pub account: String,
    /// What it is called; the account itself where it gave no name.
    pub username: String,
}

/// Listings by the hashes of their identifiers.
pub(crate) struct NamedIndex {
    digits: Option<WeakLength>,
    /// The pepper that the hashes of the Matrix face are made with.
    pepper: Option<String>,
    listings: HashMap<ListingId, Entry>,
    weak: HashMap<Weak, Vec<ListingId>>,
    peppered: HashMap<String, ListingId>,
}

struct Entry {
    revision: Revision,
    /// From then on it is not answered any more, whether it was swept or not.
    expires_at: Millis,
    account: Box<str>,
    username: Option<Box<str>>,
    strong: Option<Strong>,
    peppered: Option<String>,
}

impl NamedIndex {
    pub(crate) fn new(digits: Option<WeakLength>, pepper: Option<String>) -> Self {
        Self { digits, pepper, listings: HashMap::new(), weak: HashMap::new(), peppered: HashMap::new() }
    }

    pub(crate) fn pepper(&self) -> Option<&str> {
        self.pepper.as_deref()
    }

    /// Whether this state of a listing is in it.
    pub(crate) fn has(&self, id: ListingId, revision: Revision) -> bool {
        self.listings.get(&id).is_some_and(|entry| entry.revision == revision)
    }

    pub(crate) fn put(&mut self, listing: &Listing, content: &Content) {
        let (id, revision, expires_at) = (listing.id, listing.revision, listing.expires_at);
        self.remove(id);
        let Content { sii, account, username, index } = content;
        // These profiles give one account for an identifier.
        if *index != 0 {
            return;
        }
        let strong = self.digits.map(|_| Strong::of(sii));
        if let (Some(strong), Some(digits)) = (&strong, self.digits) {
            self.weak.entry(strong.weak(digits)).or_default().push(id);
        }
        // Its clients know accounts by their Matrix ids; others would be of no use to them.
        let is_matrix = account.as_str().starts_with('@') && account.as_str().contains(':');
        let pepper = self.pepper.as_deref().filter(|_| is_matrix);
        let peppered = pepper.and_then(|pepper| peppered(sii, pepper));
        if let Some(hash) = &peppered {
            self.peppered.insert(hash.clone(), id);
        }
        let username = username.as_ref().map(Username::as_str).map(Box::from);
        let account = account.as_str().into();
        self.listings.insert(id, Entry { revision, expires_at, account, username, strong, peppered });
    }

    pub(crate) fn remove(&mut self, id: ListingId) {
        let Some(entry) = self.listings.remove(&id) else { return };
        if let (Some(strong), Some(digits)) = (entry.strong, self.digits) {
            let weak = strong.weak(digits);
            if let Some(ids) = self.weak.get_mut(&weak) {
                ids.retain(|other| *other != id);
                if ids.is_empty() {
                    self.weak.remove(&weak);
                }
            }
        }
        if let Some(hash) = entry.peppered {
            self.peppered.remove(&hash);
        }
    }

    /// Whose identifier has this weak hash.
    pub(crate) fn by_weak(&self, weak: &Weak, now: Millis) -> impl Iterator<Item = Found> {
        self.weak.get(weak).into_iter().flatten().filter_map(move |id| {
            let entry = self.listings.get(id).filter(|entry| entry.expires_at > now)?;
            let account = entry.account.to_string();
            let username = entry.username.as_ref().map_or_else(|| account.clone(), |name| name.to_string());
            Some(Found { strong: entry.strong?, account, username })
        })
    }

    /// Whose identifier has this hash with the pepper.
    pub(crate) fn by_peppered(&self, hash: &str, now: Millis) -> Option<&str> {
        let entry = self.listings.get(self.peppered.get(hash)?)?;
        (entry.expires_at > now).then_some(&*entry.account)
    }
}

/// What clients of Matrix look an identifier up by.
fn peppered(sii: &Sii, pepper: &str) -> Option<String> {
    let (address, medium) = matrix::address(sii)?;
    Some(matrix::hash(address, medium, pepper))
}

#[cfg(test)]
mod tests {
    use acquaint_protocol::identifier::{AccountFormat, AccountId};
    use acquaint_store::Pseudonym;

    use super::*;

    /// Both profiles give one account for an identifier.
    #[test]
    fn only_the_first_mapping_of_an_identifier_is_known_by_hashes() {
        let mut named = NamedIndex::new(Some(WeakLength::Six), Some("pepper".into()));
        let sii = Sii::parse("mailto:ada@example.com").unwrap();
        let listing = |n| Listing {
            id: ListingId::from_bytes([n; 16]),
            account: Pseudonym::from_bytes([n; 16]),
            sealed: Vec::new(),
            verified_at: 0,
            expires_at: 9,
            revision: Revision(1),
        };
        let content = |account: &str, index| Content {
            sii: sii.clone(),
            account: AccountId::parse(account, AccountFormat::Opaque).unwrap(),
            username: None,
            index,
        };
        named.put(&listing(1), &content("@first:example.com", 0));
        named.put(&listing(2), &content("@second:example.com", 1));
        let weak = Strong::of(&sii).weak(WeakLength::Six);
        let found: Vec<String> = named.by_weak(&weak, 1).map(|found| found.account).collect();
        assert_eq!(found, ["@first:example.com"]);
        let hash = peppered(&sii, "pepper").unwrap();
        assert_eq!(named.by_peppered(&hash, 1), Some("@first:example.com"));
        // One that becomes another index is gone from here.
        named.put(&listing(1), &content("@first:example.com", 3));
        assert_eq!((named.by_weak(&weak, 1).count(), named.by_peppered(&hash, 1)), (0, None));
    }
}
