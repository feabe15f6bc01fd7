//! Rows as they are carried, and their bytes. Bytes are read from files: whatever they hold, reading them ends in rows or
//! in an error, and takes no more memory than they do.

use super::TransferError;
use super::kinds::{Column, Form, KINDS, Kind};

/// What a column of a row holds.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// Nothing.
    Null,
    /// A number; a bit is 0 or 1.
    Whole(i64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Text.
    Text(String),
}

#[cfg(feature = "postgres")]
impl Value {
    pub(crate) fn whole(&self) -> Option<i64> {
        if let Self::Whole(number) = self { Some(*number) } else { None }
    }

    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

/// Without its content.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Value(redacted)")
    }
}

/// A row of a kind: a value for each of its columns, each of the column's form.
pub type Row = Vec<Value>;

/// Whether a value is of its column's form.
pub(crate) fn fits(column: &Column, value: &Value) -> bool {
    match (column.form, value) {
        (_, Value::Null) => column.null,
        (Form::Whole, Value::Whole(_)) | (Form::Bytes, Value::Bytes(_)) | (Form::Text, Value::Text(_)) => {
            true
        }
        (Form::Narrow("smallint"), Value::Whole(number)) => i16::try_from(*number).is_ok(),
        (Form::Narrow(_), Value::Whole(number)) => i32::try_from(*number).is_ok(),
        (Form::Epoch, Value::Whole(number)) => u32::try_from(*number).is_ok(),
        (Form::Bit, Value::Whole(number)) => (0..=1).contains(number),
        (Form::Exactly(length), Value::Bytes(bytes)) => bytes.len() == length,
        _ => false,
    }
}

/// Puts values behind `to`.
///
/// # Errors
/// [`TransferError::TooLarge`] for a value of 4 GiB or more.
pub fn encode(values: &[Value], to: &mut Vec<u8>) -> Result<(), TransferError> {
    for value in values {
        let bytes = match value {
            Value::Null => {
                to.push(0);
                continue;
            }
            Value::Whole(number) => {
                to.push(1);
                to.extend_from_slice(&number.to_be_bytes());
                continue;
            }
            Value::Bytes(bytes) => {
                to.push(2);
                bytes.as_slice()
            }
            Value::Text(text) => {
                to.push(3);
                text.as_bytes()
            }
        };
        let length = u32::try_from(bytes.len()).map_err(|_| TransferError::TooLarge)?;
        to.extend_from_slice(&length.to_be_bytes());
        to.extend_from_slice(bytes);
    }
    Ok(())
}

const SHORT: TransferError = TransferError::Unreadable("it ends in the middle of something");

/// Reads bytes from the front.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`TransferError::Unreadable`] where there are fewer.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], TransferError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// As [`take`](Self::take).
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], TransferError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// The next value, as [`encode`] writes it.
    ///
    /// # Errors
    /// [`TransferError::Unreadable`].
    pub fn value(&mut self) -> Result<Value, TransferError> {
        let [tag] = self.array()?;
        match tag {
            0 => Ok(Value::Null),
            1 => Ok(Value::Whole(i64::from_be_bytes(self.array()?))),
            2 | 3 => {
                let length = u32::from_be_bytes(self.array()?);
                let bytes = self.take(usize::try_from(length).map_err(|_| SHORT)?)?.to_vec();
                if tag == 2 {
                    return Ok(Value::Bytes(bytes));
                }
                let text = String::from_utf8(bytes);
                Ok(Value::Text(text.map_err(|_| TransferError::Unreadable("a text is not UTF-8"))?))
            }
            _ => Err(TransferError::Unreadable("a value is of a form that is not known")),
        }
    }
}

/// Which columns a file's rows have, and in which order: another release may have had others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// For each kind of the file its index in [`KINDS`], and of each column the index there.
    kinds: Vec<(usize, Vec<usize>)>,
}

impl Layout {
    /// This release's.
    #[must_use]
    pub fn own() -> Self {
        let kind = |(index, kind): (usize, &Kind)| (index, (0..kind.columns.len()).collect());
        Self { kinds: KINDS.iter().enumerate().map(kind).collect() }
    }

    /// How many kinds a file with this layout can hold.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether it can hold none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Puts it behind `to`.
    ///
    /// # Errors
    /// As [`encode`].
    pub fn encode(&self, to: &mut Vec<u8>) -> Result<(), TransferError> {
        let text = |text: &str| Value::Text(text.to_owned());
        let mut values = vec![count(self.kinds.len())];
        for (index, columns) in &self.kinds {
            let kind = Kind::at(*index)?;
            values.extend([text(kind.name), count(columns.len())]);
            values.extend(columns.iter().filter_map(|at| kind.columns.get(*at)).map(|it| text(it.name)));
        }
        encode(&values, to)
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`TransferError::Newer`] where this release lacks a kind or a column of it, [`TransferError::Older`] where the
    /// file lacks a column of a kind that cannot be [completed](Column::absent), or [`TransferError::Unreadable`].
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, TransferError> {
        let mut kinds: Vec<(usize, Vec<usize>)> = Vec::new();
        for _ in 0..number(from)? {
            let name = name(from)?;
            let index = KINDS.iter().position(|kind| kind.name == name).ok_or(TransferError::Newer)?;
            let kind = Kind::at(index)?;
            let mut columns = Vec::new();
            for _ in 0..number(from)? {
                let name = self::name(from)?;
                let at = kind.columns.iter().position(|column| column.name == name);
                let at = at.ok_or(TransferError::Newer)?;
                if columns.contains(&at) {
                    return Err(TransferError::Unreadable("it names a column twice"));
                }
                columns.push(at);
            }
            let is_there = |(at, column): (usize, &Column)| column.absent.is_some() || columns.contains(&at);
            if !kind.columns.iter().enumerate().all(is_there) {
                return Err(TransferError::Older);
            }
            if kinds.iter().any(|(there, _)| *there == index) {
                return Err(TransferError::Unreadable("it names a kind twice"));
            }
            kinds.push((index, columns));
        }
        Ok(Self { kinds })
    }

    /// The index in [`KINDS`] of the kind with this number in the file.
    ///
    /// # Errors
    /// [`TransferError::Unreadable`] where there is none.
    pub fn kind(&self, number: usize) -> Result<usize, TransferError> {
        self.at(number).map(|(index, _)| *index)
    }

    /// Reads a row of the kind with this number in the file.
    ///
    /// # Errors
    /// [`TransferError::Unreadable`].
    pub fn row(&self, number: usize, from: &mut Reader<'_>) -> Result<Row, TransferError> {
        let (index, columns) = self.at(number)?;
        let wanted = Kind::at(*index)?.columns;
        let absent = |column: &Column| column.absent.map_or(Value::Null, Value::Whole);
        let mut row: Row = wanted.iter().map(absent).collect();
        for at in columns {
            if let Some(place) = row.get_mut(*at) {
                *place = from.value()?;
            }
        }
        if !wanted.iter().zip(&row).all(|(column, value)| fits(column, value)) {
            return Err(TransferError::Unreadable("a value is not of its column's form"));
        }
        Ok(row)
    }

    fn at(&self, number: usize) -> Result<&(usize, Vec<usize>), TransferError> {
        let kind = self.kinds.get(number);
        kind.ok_or(TransferError::Unreadable("it names a kind of rows that is not known"))
    }
}

fn count(count: usize) -> Value {
    Value::Whole(i64::try_from(count).unwrap_or(i64::MAX))
}

fn number(from: &mut Reader<'_>) -> Result<u32, TransferError> {
    match from.value()? {
        Value::Whole(number) => {
            u32::try_from(number).map_err(|_| TransferError::Unreadable("a number is out of range"))
        }
        _ => Err(TransferError::Unreadable("a number is missing")),
    }
}

fn name(from: &mut Reader<'_>) -> Result<String, TransferError> {
    match from.value()? {
        Value::Text(name) => Ok(name),
        _ => Err(TransferError::Unreadable("a name is missing")),
    }
}
