//! The demo's people. Their numbers are from the range that France keeps for fiction, 06 39 98 00 00 to 99 99 (ARCEP,
//! plan de numérotation).

use acquaint_client::address_book::read_vcards;
use acquaint_protocol::identifier::{Phone, Region};

use crate::failure::Failure;

pub(super) struct Person {
    pub(super) name: &'static str,
    pub(super) did: &'static str,
    pub(super) phone: &'static str,
    vcards: &'static str,
}

pub(super) const ADA: Person = Person {
    name: "Ada",
    did: "did:plc:demo-ada",
    phone: "+33639980101",
    vcards: include_str!("../../../../examples/ada.vcf"),
};
pub(super) const BOB: Person = Person {
    name: "Bob",
    did: "did:plc:demo-bob",
    phone: "+33639980102",
    vcards: include_str!("../../../../examples/bob.vcf"),
};
pub(super) const CAROL: Person = Person {
    name: "Carol",
    did: "did:plc:demo-carol",
    phone: "+33639980103",
    vcards: include_str!("../../../../examples/carol.vcf"),
};
/// Had the number before Erin.
pub(super) const DORA: Person = Person {
    name: "Dora",
    did: "did:plc:demo-dora",
    phone: "+33639980104",
    vcards: include_str!("../../../../examples/dora.vcf"),
};
/// Has Dora's number now.
pub(super) const ERIN: Person = Person {
    name: "Erin",
    did: "did:plc:demo-erin",
    phone: "+33639980104",
    vcards: include_str!("../../../../examples/erin.vcf"),
};
pub(super) const MARCO: Person = Person {
    name: "Marco",
    did: "did:plc:demo-marco",
    phone: "+33639980150",
    vcards: include_str!("../../../../examples/marco.vcf"),
};
/// Nobody has the stranger's number.
pub(super) const STRANGER: Person =
    Person { name: "the stranger", did: "did:plc:demo-stranger", phone: "+33639989999", vcards: "" };

pub(super) const EVERYBODY: [&Person; 6] = [&ADA, &BOB, &CAROL, &DORA, &ERIN, &MARCO];

impl Person {
    /// The address book's numbers in international form, as an app on the person's French phone would send them.
    pub(super) fn numbers(&self) -> Result<Vec<String>, Failure> {
        let france = Region::parse("FR")?;
        let phones = read_vcards(self.vcards)?.contacts.into_iter().flat_map(|contact| contact.phones);
        Ok(phones.filter_map(|phone| Phone::parse(&phone, Some(france)).ok()).map(|phone| phone.as_str().to_owned()).collect())
    }
}

/// +33 6 39 98 00 00 to +33 6 39 98 09 99.
pub(super) fn swept_numbers() -> Vec<String> {
    (0..1000).map(|last| format!("+3363998{last:04}")).collect()
}

/// The swept numbers, everybody's among them, and the stranger's own.
pub(super) fn every_number() -> Vec<String> {
    let mut numbers = swept_numbers();
    numbers.push(STRANGER.phone.to_owned());
    numbers
}
