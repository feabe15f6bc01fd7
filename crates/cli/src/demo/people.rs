//! The demo's people. Their numbers are from the range that North America keeps for fiction, 555-0100 to 555-0199 in
//! each area code (ATIS-0300115).

use acquaint_client::address_book;
use acquaint_client::identifier::{Phone, Region};

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
    phone: "+12125550101",
    vcards: include_str!("../../../../examples/ada.vcf"),
};
pub(super) const BOB: Person = Person {
    name: "Bob",
    did: "did:plc:demo-bob",
    phone: "+12125550102",
    vcards: include_str!("../../../../examples/bob.vcf"),
};
pub(super) const CAROL: Person = Person {
    name: "Carol",
    did: "did:plc:demo-carol",
    phone: "+14155550103",
    vcards: include_str!("../../../../examples/carol.vcf"),
};
/// Had the number before Erin.
pub(super) const DORA: Person = Person {
    name: "Dora",
    did: "did:plc:demo-dora",
    phone: "+16465550104",
    vcards: include_str!("../../../../examples/dora.vcf"),
};
/// Has Dora's number now.
pub(super) const ERIN: Person = Person {
    name: "Erin",
    did: "did:plc:demo-erin",
    phone: "+16465550104",
    vcards: include_str!("../../../../examples/erin.vcf"),
};
pub(super) const MARCO: Person = Person {
    name: "Marco",
    did: "did:plc:demo-marco",
    phone: "+13125550150",
    vcards: include_str!("../../../../examples/marco.vcf"),
};
/// Nobody has the stranger's number.
pub(super) const STRANGER: Person =
    Person { name: "the stranger", did: "did:plc:demo-stranger", phone: "+19175550199", vcards: "" };

pub(super) const EVERYBODY: [&Person; 6] = [&ADA, &BOB, &CAROL, &DORA, &ERIN, &MARCO];

impl Person {
    /// The address book's numbers in international form, as an app on the person's American phone would send them.
    pub(super) fn numbers(&self) -> Result<Vec<String>, Failure> {
        let region = Region::parse("US")?;
        let phones = address_book::read(self.vcards.as_bytes())?
            .contacts
            .into_iter()
            .flat_map(|contact| contact.phones);
        Ok(phones
            .filter_map(|phone| Phone::parse(&phone, Some(region)).ok())
            .map(|phone| phone.as_str().to_owned())
            .collect())
    }
}

/// Every number for fiction in ten area codes.
pub(super) fn swept_numbers() -> Vec<String> {
    let areas = [212, 312, 415, 646, 718, 206, 305, 512, 617, 702];
    areas.into_iter().flat_map(|area| (100..200).map(move |last| format!("+1{area}5550{last}"))).collect()
}

/// The swept numbers, everybody's among them, and the stranger's own.
pub(super) fn every_number() -> Vec<String> {
    let mut numbers = swept_numbers();
    numbers.push(STRANGER.phone.to_owned());
    numbers
}
