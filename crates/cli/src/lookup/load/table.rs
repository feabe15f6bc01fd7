//! The CSV of mappings: read twice, first to know what it is, then row by row.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

use acquaint_client::Mapping;
use csv::{ByteRecord, Reader, ReaderBuilder};
use sha2::{Digest, Sha256};

use crate::failure::Failure;

/// The longest field: an account has at most 2048 bytes. A longer one is a quotation mark that nobody closed.
const MAX_FIELD: usize = 4096;

/// A CSV as its first reading found it.
pub(super) struct Table {
    file: File,
    columns: Columns,
    /// SHA-256 of all its bytes, in hexadecimal.
    pub(super) fingerprint: String,
    /// How many rows there are below the header.
    pub(super) rows: u64,
    /// Rows of an identifier and index that stand in an earlier line, with that line.
    twice: HashMap<u64, u64>,
}

/// In which field what is.
#[derive(Clone, Copy)]
struct Columns {
    fields: usize,
    identifier: usize,
    account: usize,
    index: Option<usize>,
    username: Option<usize>,
}

/// A row below the header.
pub(super) struct Row {
    /// Its line in the file, from 1.
    pub(super) line: u64,
    /// What it says; or why it is no mapping, which repeats nothing of it.
    pub(super) mapping: Result<Mapping, String>,
}

impl Table {
    pub(super) fn open(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let told = |error: io::Error| format!("cannot read {shown}: {error}");
        let mut file = File::open(path).map_err(told)?;
        if !file.metadata().map_err(told)?.is_file() {
            return Err(
                format!("{shown} is no file: it is read twice, so it cannot be a pipe or a folder").into()
            );
        }
        let mut hashed = Hashed { file: &mut file, hash: Sha256::new() };
        let mut reader = reader(&mut hashed);
        let columns = Columns::of(&header(&mut reader, path)?).map_err(|why| format!("{shown}: {why}"))?;
        let (mut rows, mut seen, mut twice) = (0, HashMap::new(), HashMap::new());
        let mut record = ByteRecord::new();
        while reader.read_byte_record(&mut record).map_err(|error| unreadable(path, &error))? {
            rows += 1;
            let line = record.position().map_or(0, csv::Position::line);
            let Some(key) = columns.key(&record) else { continue };
            if let Some(first) = seen.get(&key) {
                twice.insert(rows, *first);
            } else {
                seen.insert(key, line);
            }
        }
        drop(reader);
        let fingerprint = hex::encode(hashed.hash.finalize());
        file.rewind().map_err(told)?;
        Ok(Self { file, columns, fingerprint, rows, twice })
    }

    /// The rows again.
    pub(super) fn rows(&self) -> Rows<'_> {
        Rows { table: self, reader: reader(BufReader::new(&self.file)), header: true, row: 0 }
    }
}

/// Rows, in their order.
pub(super) struct Rows<'a> {
    table: &'a Table,
    reader: Reader<BufReader<&'a File>>,
    header: bool,
    row: u64,
}

impl Iterator for Rows<'_> {
    type Item = Result<Row, Failure>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut record = ByteRecord::new();
        loop {
            match self.reader.read_byte_record(&mut record) {
                Ok(true) if std::mem::take(&mut self.header) => {}
                Ok(true) => break,
                Ok(false) => return None,
                Err(error) => return Some(Err(format!("the file cannot be read on: {error}").into())),
            }
        }
        self.row += 1;
        let line = record.position().map_or(0, csv::Position::line);
        let mapping = match self.table.twice.get(&self.row) {
            Some(first) => Err(format!("line {first} has this identifier and index already")),
            None => self.table.columns.mapping(&record),
        };
        Some(Ok(Row { line, mapping }))
    }
}

fn reader<R: Read>(from: R) -> Reader<R> {
    // The header is read as a row, and short rows are told with their lines.
    ReaderBuilder::new().has_headers(false).flexible(true).from_reader(from)
}

fn unreadable(path: &Path, error: &csv::Error) -> Failure {
    format!("cannot read {}: {error}", path.display()).into()
}

fn header<R: Read>(reader: &mut Reader<R>, path: &Path) -> Result<Vec<String>, Failure> {
    let shown = path.display();
    let mut record = ByteRecord::new();
    if !reader.read_byte_record(&mut record).map_err(|error| unreadable(path, &error))? {
        return Err(format!("{shown} is empty: its first line must be `identifier,account`").into());
    }
    let first = record.get(0).unwrap_or_default();
    if first.starts_with(&[0xff, 0xfe]) || first.starts_with(&[0xfe, 0xff]) {
        return Err(format!("{shown} is in UTF-16: save it as UTF-8").into());
    }
    let names = record.iter().enumerate().map(|(at, name)| {
        // What spreadsheets put before the first.
        let name = if at == 0 { name.strip_prefix(b"\xef\xbb\xbf").unwrap_or(name) } else { name };
        String::from_utf8_lossy(name).trim().to_ascii_lowercase()
    });
    Ok(names.collect())
}

impl Columns {
    fn of(names: &[String]) -> Result<Self, String> {
        const WANTED: &str = "its first line must name the columns `identifier` and `account`, and may name `index` and `username`";
        // One that is no header holds what is nobody's business.
        let is_data =
            |name: &String| name.contains('@') || name.bytes().filter(u8::is_ascii_digit).count() > 4;
        if names.iter().any(is_data) {
            return Err(format!("{WANTED}; it holds a mapping instead"));
        }
        let known = ["identifier", "account", "index", "username"];
        let foreign: Vec<String> = names
            .iter()
            .filter(|name| !known.contains(&name.as_str()))
            .map(|name| format!("`{}`", name.escape_debug().take(40).collect::<String>()))
            .collect();
        if !foreign.is_empty() {
            return Err(format!("{WANTED}, and nothing else: {} is not known", foreign.join(", ")));
        }
        if let Some(name) = known.iter().find(|known| names.iter().filter(|name| name == *known).count() > 1)
        {
            return Err(format!("it has the column `{name}` twice"));
        }
        let at = |wanted: &str| names.iter().position(|name| name == wanted);
        let (Some(identifier), Some(account)) = (at("identifier"), at("account")) else {
            return Err(WANTED.to_owned());
        };
        let (index, username) = (at("index"), at("username"));
        Ok(Self { fields: names.len(), identifier, account, index, username })
    }

    fn index(&self, record: &ByteRecord) -> Option<u8> {
        let Some(index) = self.index else { return Some(0) };
        let text = record.get(index)?.trim_ascii();
        if text.is_empty() {
            return Some(0);
        }
        // As digits alone: `+1` is another spelling of the same.
        let digits =
            std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
        digits.parse().ok()
    }

    /// The same for rows of one identifier and index, as far as it is told by the spelling alone: without case, spaces and
    /// the marks that numbers are written with. `None` for a row that is refused anyway.
    fn key(&self, record: &ByteRecord) -> Option<[u8; 16]> {
        let index = self.index(record)?;
        let identifier = record.get(self.identifier)?;
        if identifier.is_empty() || identifier.len() > MAX_FIELD || record.len() != self.fields {
            return None;
        }
        let is_email = identifier.contains(&b'@');
        let marks = |byte: &u8| byte.is_ascii_whitespace() || (!is_email && b"-()./".contains(byte));
        let plain: Vec<u8> =
            identifier.iter().filter(|byte| !marks(byte)).map(u8::to_ascii_lowercase).collect();
        let hash: [u8; 32] = Sha256::new().chain_update(&plain).chain_update([0, index]).finalize().into();
        hash.first_chunk().copied()
    }

    fn mapping(&self, record: &ByteRecord) -> Result<Mapping, String> {
        if record.len() != self.fields {
            return Err(format!("it has {} fields, and the first line has {}", record.len(), self.fields));
        }
        if record.iter().any(|field| field.len() > MAX_FIELD) {
            return Err(format!("a field has more than {MAX_FIELD} bytes: is a quotation mark not closed?"));
        }
        let text = |at: usize| {
            let field = record.get(at).unwrap_or_default();
            std::str::from_utf8(field).map(str::to_owned).map_err(|_| "it is not UTF-8".to_owned())
        };
        let index = self.index(record).ok_or("index: must be a number from 0 to 255")?;
        let username = self.username.map(text).transpose()?.filter(|name| !name.is_empty());
        let identifier = text(self.identifier)?.trim().to_owned();
        Ok(Mapping { identifier, account: text(self.account)?, index, username })
    }
}

/// A file, with the hash of what was read of it.
struct Hashed<'a> {
    file: &'a mut File,
    hash: Sha256,
}

impl Read for Hashed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}
