//! Records: which account an identifier stands for, of 128 bytes each.

use aes::cipher::BlockCipherEncrypt;
use aes::{Aes256, Block};
use aes_gcm_siv::aead::AeadInOut;
use aes_gcm_siv::{Aes256GcmSiv, KeyInit, Nonce};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::{Zeroize, Zeroizing};

use super::{Keys, Mode};

/// Bytes of a record.
pub const RECORD_BYTES: usize = 128;

/// Bytes of what a record says: the provider, 0x00 and the account, filled up with 0x00.
pub const CONTENT_BYTES: usize = RECORD_BYTES - TAG_BYTES;

const TAG_BYTES: usize = 16;

/// Bytes of a name as Bluesky's network has them (`did:plc:…`).
const NAME_BYTES: usize = 32;

/// One key seals what one identifier stands for, and the mode stands a nonce that comes twice (RFC 8452, section 1).
const NONCE: [u8; 12] = [0; 12];

type Content = [u8; CONTENT_BYTES];

/// Why there is no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Provider and account have more bytes than records have.
    #[error(
        "the account's name is longer than {0} bytes, which is all that a record of this provider has room for"
    )]
    TooLong(usize),
    /// A name is empty, or holds a 0x00, which ends names.
    #[error("the account's or the provider's name is empty or holds a zero byte")]
    NotAName,
}

/// The longest account's name that a record of this provider has room for, in bytes.
#[must_use]
pub fn most_account_bytes(provider: &str) -> usize {
    CONTENT_BYTES.saturating_sub(provider.len() + 1)
}

/// A record, as it stands in a table.
///
/// # Errors
/// See [`RecordError`].
pub fn seal_record(
    keys: &Keys,
    mode: Mode,
    provider: &str,
    account: &str,
) -> Result<[u8; RECORD_BYTES], RecordError> {
    let mut content = content(provider, account)?;
    match mode {
        Mode::Psm => {
            let tag = seal(&keys.record_key, &mut content).ok_or(RecordError::NotAName)?;
            Ok(joined(&content, &tag))
        }
        Mode::Pir => Ok(joined(&keys.record_tag, &content)),
    }
}

/// The account that a record names, if it is of these keys and of this provider.
#[must_use]
pub fn open_record(keys: &Keys, mode: Mode, provider: &str, record: &[u8]) -> Option<String> {
    find(keys, mode, provider, [record].into_iter())
}

/// The account that one of the records of `slots` names, if it is of these keys and of this provider. The first of them counts,
/// also if what it names is no account, which no provider makes: then it is nobody. All are tried, in a
/// time that does not depend on whether one opens, nor on which: a server that learnt that of answers of its own making would
/// learn the client's secret, coefficient by coefficient (`acquaint-pir`).
#[must_use]
pub fn find_record(keys: &Keys, mode: Mode, provider: &str, slots: &[Vec<u8>]) -> Option<String> {
    find(keys, mode, provider, slots.iter().flat_map(|slot| slot.chunks_exact(RECORD_BYTES)))
}

fn find<'a>(
    keys: &Keys,
    mode: Mode,
    provider: &str,
    records: impl Iterator<Item = &'a [u8]>,
) -> Option<String> {
    // As long as most names are, so that it takes as long to read this one as a record's.
    let nobody = "-".repeat(most_account_bytes(provider).min(NAME_BYTES));
    let mut found = Zeroizing::new(content(provider, &nobody).ok()?);
    let wanted = *found;
    let prefix = provider.len() + 1;
    let opener = Opener::new(keys);
    let mut is_there = Choice::from(0);
    for record in records {
        let Some((mut content, is_ours)) = opener.open(mode, record) else { continue };
        let is_ours = is_ours
            & content
                .iter()
                .zip(&wanted)
                .take(prefix)
                .fold(Choice::from(1), |same, (a, b)| same & a.ct_eq(b));
        let is_first = is_ours & !is_there;
        for (to, from) in found.iter_mut().zip(&content) {
            to.conditional_assign(from, is_first);
        }
        is_there |= is_ours;
        content.zeroize();
    }
    let account = found.get(prefix..).and_then(name);
    if bool::from(is_there) { account } else { None }
}

/// What is filled up with zeros, and has none of its own.
fn name(filled: &[u8]) -> Option<String> {
    let end = filled.iter().rposition(|byte| *byte != 0)?;
    let name = filled.get(..=end)?;
    String::from_utf8(name.to_vec()).ok().filter(|name| !name.contains('\0'))
}

fn content(provider: &str, account: &str) -> Result<Content, RecordError> {
    if [provider, account].into_iter().any(|name| name.is_empty() || name.contains('\0')) {
        return Err(RecordError::NotAName);
    }
    let most = most_account_bytes(provider);
    if account.len() > most {
        return Err(RecordError::TooLong(most));
    }
    let bytes = provider.bytes().chain([0]).chain(account.bytes());
    let mut content = [0; CONTENT_BYTES];
    content.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
    Ok(content)
}

fn joined(first: &[u8], second: &[u8]) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record.iter_mut().zip(first.iter().chain(second)).for_each(|(to, from)| *to = *from);
    record
}

/// AES-256-GCM-SIV. It fails for contents of over 64 GiB alone (RFC 8452, section 4).
fn seal(key: &[u8; 32], content: &mut Content) -> Option<[u8; TAG_BYTES]> {
    let cipher = Aes256GcmSiv::new(key.into());
    let tag = cipher.encrypt_inout_detached(&Nonce::from(NONCE), &[], content.as_mut_slice().into());
    tag.ok().map(Into::into)
}

/// Opens records of either mode without telling by its time whether they are of its keys. The `decrypt` of the crate
/// `aes-gcm-siv` encrypts once more what did not open, which is half of its time: so the key stream is taken off here, and
/// the tag is that of the crate's `encrypt`.
struct Opener<'a> {
    keys: &'a Keys,
    /// AES under the message encryption key (RFC 8452, section 4).
    stream: Aes256,
}

impl<'a> Opener<'a> {
    fn new(keys: &'a Keys) -> Self {
        let generating = Aes256::new((&keys.record_key).into());
        let mut message_key = Zeroizing::new([0; 32]);
        // Of the six blocks the first two are the authentication key's.
        for (number, half) in (2_u8..).zip(message_key.chunks_exact_mut(8)) {
            let mut block = Block::default();
            block.iter_mut().take(1).for_each(|byte| *byte = number);
            generating.encrypt_block(&mut block);
            half.iter_mut().zip(&block).for_each(|(to, from)| *to = *from);
            block.zeroize();
        }
        Self { keys, stream: Aes256::new((&*message_key).into()) }
    }

    /// What a record says if it is of these keys, and whether it is; `None` unless it has the bytes of one.
    fn open(&self, mode: Mode, record: &[u8]) -> Option<(Content, Choice)> {
        let record: &[u8; RECORD_BYTES] = record.try_into().ok()?;
        match mode {
            Mode::Psm => {
                let (sealed, tag) = record.split_last_chunk::<TAG_BYTES>()?;
                let mut content: Content = sealed.try_into().ok()?;
                self.take_off(tag, &mut content);
                let mut again = content;
                let is_ours = seal(&self.keys.record_key, &mut again)?.ct_eq(tag);
                again.zeroize();
                Some((content, is_ours))
            }
            Mode::Pir => {
                let (tag, content) = record.split_first_chunk::<TAG_BYTES>()?;
                Some((content.try_into().ok()?, tag.ct_eq(&self.keys.record_tag)))
            }
        }
    }

    /// AES-CTR as RFC 8452, section 4, has it: the tag with its highest bit set, counted up in its first four bytes.
    fn take_off(&self, tag: &[u8; TAG_BYTES], content: &mut Content) {
        let mut counter = *tag;
        counter.iter_mut().skip(15).for_each(|byte| *byte |= 0x80);
        for chunk in content.chunks_mut(16) {
            let mut block = Block::from(counter);
            self.stream.encrypt_block(&mut block);
            chunk.iter_mut().zip(&block).for_each(|(to, from)| *to ^= from);
            block.zeroize();
            let [a, b, c, d, rest @ ..] = counter;
            let [a, b, c, d] = u32::from_le_bytes([a, b, c, d]).wrapping_add(1).to_le_bytes();
            counter.iter_mut().zip([a, b, c, d].into_iter().chain(rest)).for_each(|(to, from)| *to = from);
        }
    }
}
