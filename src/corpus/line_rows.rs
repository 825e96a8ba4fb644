//! The lines of one text file, as they are or as one JSON object each.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::{Error, Result};

/// What a line is.
#[derive(Debug)]
pub(super) enum LineFormat {
    /// A text.
    Text,
    /// A JSON object with the text in the field of this name.
    Json { text_column: String },
}

/// A file whose lines have been found. Only their offsets are kept: 8 bytes per row.
#[derive(Debug)]
pub(super) struct LineFile {
    path: PathBuf,
    format: LineFormat,
    /// Where each row starts, in bytes, and where the file ends. What lies between the end of one row
    /// and the start of the next can only be blank lines, which JSON's grammar skips.
    offsets: Vec<u64>,
}

impl LineFile {
    /// Finds the lines, and checks that the first row has a text.
    pub(super) fn open(path: &Path, format: LineFormat) -> Result<Self> {
        let keep_blank = matches!(format, LineFormat::Text);
        let file = Self {
            path: path.into(),
            format,
            offsets: line_offsets(path, keep_blank)?,
        };
        if let LineFormat::Json { text_column } = &file.format
            && file.len() > 0
        {
            let mut reader = file.reader()?;
            let line = file.line(&mut reader, 0)?;
            if line.trim_start().starts_with('[') {
                return Err(Error::Dataset {
                    path: path.into(),
                    message:
                        "a JSON array; one object per line is needed (`jq -c '.[]'` makes that)"
                            .into(),
                });
            }
            if let Field::Missing = file.json_field(&line, 0, text_column)? {
                let columns: BTreeMap<String, IgnoredAny> =
                    file.named(0, serde_json::from_str(&line))?;
                return Err(Error::MissingColumn {
                    path: path.into(),
                    column: text_column.clone(),
                    available: columns.into_keys().collect(),
                });
            }
        }
        Ok(file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Hands over the texts of `rows`, which ascend and differ, one by one.
    pub(super) fn visit(
        &self,
        rows: &[usize],
        visit: &mut dyn FnMut(String) -> Result<()>,
    ) -> Result<()> {
        let mut reader = self.reader()?;
        for &row in rows {
            let line = self.line(&mut reader, row)?;
            visit(match &self.format {
                LineFormat::Text => line,
                LineFormat::Json { text_column } => {
                    match self.json_field(&line, row, text_column)? {
                        Field::Text(text) => text,
                        Field::Null | Field::Missing => String::new(),
                    }
                }
            })?;
        }
        Ok(())
    }

    fn reader(&self) -> Result<SequentialReader> {
        let file = File::open(&self.path).map_err(Error::io(&self.path))?;
        Ok(SequentialReader {
            inner: BufReader::with_capacity(1 << 16, file),
            position: 0,
        })
    }

    /// Row `row` without its line end. For JSON, blank lines may follow.
    fn line(&self, reader: &mut SequentialReader, row: usize) -> Result<String> {
        let (start, end) = (self.offsets[row], self.offsets[row + 1]);
        let mut bytes = reader.read(start, end).map_err(Error::io(&self.path))?;
        for terminator in [b'\n', b'\r'] {
            if bytes.last() == Some(&terminator) {
                bytes.pop();
            }
        }
        String::from_utf8(bytes).map_err(|error| {
            let offset = error.utf8_error().valid_up_to() as u64;
            Error::Dataset {
                path: self.path.clone(),
                message: format!(
                    "byte {} of the file (row {row}) is not UTF-8; convert the file to UTF-8",
                    start + offset
                ),
            }
        })
    }

    fn json_field(&self, line: &str, row: usize, text_column: &str) -> Result<Field> {
        let mut deserializer = serde_json::Deserializer::from_str(line);
        let field = FieldSeed(text_column)
            .deserialize(&mut deserializer)
            .and_then(|field| deserializer.end().map(|()| field));
        self.named(row, field)
    }

    /// Adds to an error in the JSON of `row` where in the file that is.
    fn named<T>(&self, row: usize, parsed: serde_json::Result<T>) -> Result<T> {
        parsed.or_else(|error| {
            Err(Error::Dataset {
                path: self.path.clone(),
                message: format!(
                    "line {}: {}",
                    self.line_number(row)?,
                    without_position(&error)
                ),
            })
        })
    }

    /// The line of the file, counted from 1 and blank ones included, in which `row` stands.
    fn line_number(&self, row: usize) -> Result<usize> {
        let lines = line_offsets(&self.path, true)?;
        Ok(lines.partition_point(|&start| start <= self.offsets[row]))
    }
}

/// Every line that is one more row: where it starts, and at last where the file ends.
fn line_offsets(path: &Path, keep_blank: bool) -> Result<Vec<u64>> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    let file = File::open(path).map_err(Error::io(path))?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut offsets = Vec::new();
    let (mut position, mut start) = (0u64, 0u64);
    let (mut blank, mut after_return) = (true, false);
    loop {
        let mut chunk = reader.fill_buf().map_err(Error::io(path))?;
        if chunk.is_empty() {
            break;
        }
        let length = chunk.len();
        if position == 0 && chunk.starts_with(BYTE_ORDER_MARK) {
            chunk = &chunk[BYTE_ORDER_MARK.len()..];
            position = BYTE_ORDER_MARK.len() as u64;
            start = position;
        }
        for &byte in chunk {
            position += 1;
            match byte {
                // The second half of \r\n still belongs to the line that has just ended.
                b'\n' if after_return => start = position,
                b'\n' | b'\r' => {
                    if keep_blank || !blank {
                        offsets.push(start);
                    }
                    start = position;
                    blank = true;
                }
                b' ' | b'\t' => {}
                _ => blank = false,
            }
            after_return = byte == b'\r';
        }
        reader.consume(length);
    }
    if start < position && (keep_blank || !blank) {
        offsets.push(start);
    }
    offsets.push(position);
    Ok(offsets)
}

/// Reads byte ranges that ascend, without giving up what is buffered when the next one is near.
struct SequentialReader {
    inner: BufReader<File>,
    position: u64,
}

impl SequentialReader {
    fn read(&mut self, start: u64, end: u64) -> std::io::Result<Vec<u8>> {
        let distance = i64::try_from(start - self.position).map_err(std::io::Error::other)?;
        self.inner.seek_relative(distance)?;
        let mut bytes = Vec::new();
        let wanted = end - start;
        if self.inner.by_ref().take(wanted).read_to_end(&mut bytes)? as u64 != wanted {
            return Err(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                "the file has become shorter since it was opened",
            ));
        }
        self.position = end;
        Ok(bytes)
    }
}

/// One field of a JSON object; the others are passed over without being kept, whatever they hold.
enum Field {
    Text(String),
    Null,
    Missing,
}

struct FieldSeed<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Field, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = Field;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "an object with the text in `{}`", self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
        let mut field = Field::Missing;
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0 {
                let text = map.next_value::<Option<String>>().map_err(|error| {
                    serde::de::Error::custom(format!("field `{}`: {error}", self.0))
                })?;
                field = text.map_or(Field::Null, Field::Text);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(field)
    }
}

/// serde_json counts lines within the one line that it was given; only its column, if it has one, is of
/// use.
fn without_position(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let suffix = format!(" at line {} column {}", error.line(), error.column());
    match (message.strip_suffix(&suffix), error.column()) {
        (Some(bare), 0) => bare.to_owned(),
        (Some(bare), column) => format!("{bare} (column {column})"),
        (None, _) => message,
    }
}
