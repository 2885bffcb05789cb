//! Writes Python pickles, protocol 2: what `refs(...).p` files are made of, nothing more.
//!
//! No memo is written: every value stands for itself, as after `pickletools.optimize`.

use std::io::{self, Write};

/// A value that a pickle can hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pickle {
    /// `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A text.
    Str(String),
    /// A list.
    List(Vec<Pickle>),
    /// A dictionary with text keys, in this order.
    Dict(Vec<(&'static str, Pickle)>),
}

/// How many items Python puts on the stack at once; more would work, but readers may set limits.
const BATCH: usize = 1000;

impl Pickle {
    /// A whole pickle of this value.
    ///
    /// # Errors
    /// If the sink fails, or a text is longer than 4 GiB.
    pub fn write(&self, sink: &mut impl Write) -> io::Result<()> {
        sink.write_all(b"\x80\x02")?;
        self.write_value(sink)?;
        sink.write_all(b".")
    }

    /// The opcodes that push this value.
    fn write_value(&self, sink: &mut impl Write) -> io::Result<()> {
        match self {
            Pickle::None => sink.write_all(b"N"),
            Pickle::Bool(true) => sink.write_all(b"\x88"),
            Pickle::Bool(false) => sink.write_all(b"\x89"),
            Pickle::Int(number) => write_int(*number, sink),
            Pickle::Str(text) => write_text(text, sink),
            Pickle::List(items) => {
                sink.write_all(b"]")?;
                for batch in items.chunks(BATCH) {
                    write_batch(batch, sink, [b"a", b"e"], Pickle::write_value)?;
                }
                Ok(())
            }
            Pickle::Dict(items) => {
                sink.write_all(b"}")?;
                for batch in items.chunks(BATCH) {
                    write_batch(batch, sink, [b"s", b"u"], |(key, value), sink| {
                        write_text(key, sink)?;
                        value.write_value(sink)
                    })?;
                }
                Ok(())
            }
        }
    }
}

/// Starts the pickle of a list that is written item by item, so that a long one never lies in memory.
///
/// # Errors
/// If the sink fails.
pub fn start_list(sink: &mut impl Write) -> io::Result<()> {
    sink.write_all(b"\x80\x02]")
}

/// Appends one item to a list begun with [`start_list`].
///
/// # Errors
/// As [`Pickle::write`].
pub fn append(item: &Pickle, sink: &mut impl Write) -> io::Result<()> {
    item.write_value(sink)?;
    sink.write_all(b"a")
}

/// Ends a pickle begun with [`start_list`].
///
/// # Errors
/// If the sink fails.
pub fn end_list(sink: &mut impl Write) -> io::Result<()> {
    sink.write_all(b".")
}

/// One item alone, or several after a mark.
fn write_batch<T, W: Write>(
    items: &[T],
    sink: &mut W,
    [one, several]: [&[u8; 1]; 2],
    write: impl Fn(&T, &mut W) -> io::Result<()>,
) -> io::Result<()> {
    if items.len() > 1 {
        sink.write_all(b"(")?;
    }
    items.iter().try_for_each(|item| write(item, sink))?;
    sink.write_all(if items.len() > 1 { several } else { one })
}

fn write_int(number: i64, sink: &mut impl Write) -> io::Result<()> {
    if let Ok(byte) = u8::try_from(number) {
        sink.write_all(&[b'K', byte])
    } else if let Ok(short) = u16::try_from(number) {
        sink.write_all(b"M")?;
        sink.write_all(&short.to_le_bytes())
    } else if let Ok(int) = i32::try_from(number) {
        sink.write_all(b"J")?;
        sink.write_all(&int.to_le_bytes())
    } else {
        // LONG1: two's complement, little endian, as short as keeps the sign.
        let bytes = number.to_le_bytes();
        let sign = if number < 0 { 0xff } else { 0 };
        let mut length = bytes.len();
        while length > 1 && bytes[length - 1] == sign && (bytes[length - 2] ^ sign) < 0x80 {
            length -= 1;
        }
        sink.write_all(&[0x8a, length as u8])?;
        sink.write_all(&bytes[..length])
    }
}

fn write_text(text: &str, sink: &mut impl Write) -> io::Result<()> {
    let length = u32::try_from(text.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a pickled text holds at most 4 GiB"))?;
    sink.write_all(b"X")?;
    sink.write_all(&length.to_le_bytes())?;
    sink.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: &Pickle) -> Vec<u8> {
        let mut sink = Vec::new();
        value.write(&mut sink).unwrap();
        sink
    }

    /// The right-hand sides are `pickletools.optimize(pickle.dumps(value, 2))` of Python 3.
    #[test]
    fn small_values_are_what_python_writes() {
        let text = |text: &str| Pickle::Str(text.to_owned());
        for (value, expected) in [
            (Pickle::None, &b"\x80\x02N."[..]),
            (Pickle::Bool(true), b"\x80\x02\x88."),
            (Pickle::Bool(false), b"\x80\x02\x89."),
            (Pickle::Int(0), b"\x80\x02K\x00."),
            (Pickle::Int(255), b"\x80\x02K\xff."),
            (Pickle::Int(256), b"\x80\x02M\x00\x01."),
            (Pickle::Int(65_535), b"\x80\x02M\xff\xff."),
            (Pickle::Int(65_536), b"\x80\x02J\x00\x00\x01\x00."),
            (Pickle::Int(-1), b"\x80\x02J\xff\xff\xff\xff."),
            (Pickle::Int(1 << 31), b"\x80\x02\x8a\x05\x00\x00\x00\x80\x00."),
            (Pickle::Int(-(1 << 31) - 1), b"\x80\x02\x8a\x05\xff\xff\xff\x7f\xff."),
            (Pickle::Int(1 << 40), b"\x80\x02\x8a\x06\x00\x00\x00\x00\x00\x01."),
            (Pickle::Int(i64::MIN), b"\x80\x02\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80."),
            (text("né"), b"\x80\x02X\x03\x00\x00\x00n\xc3\xa9."),
            (Pickle::List(vec![]), b"\x80\x02]."),
            (Pickle::List(vec![Pickle::Int(1)]), b"\x80\x02]K\x01a."),
            (Pickle::List(vec![Pickle::Int(1), Pickle::None]), b"\x80\x02](K\x01Ne."),
            (Pickle::Dict(vec![("a", Pickle::Int(1))]), b"\x80\x02}X\x01\x00\x00\x00aK\x01s."),
            (
                Pickle::Dict(vec![("a", Pickle::List(vec![])), ("b", text(""))]),
                b"\x80\x02}(X\x01\x00\x00\x00a]X\x01\x00\x00\x00bX\x00\x00\x00\x00u.",
            ),
        ] {
            assert_eq!(bytes(&value), expected, "{value:?}");
        }
    }

    #[test]
    fn long_lists_come_in_batches() {
        let ones = |count| Pickle::List(vec![Pickle::Int(1); count]);
        let batches = |count| bytes(&ones(count)).iter().filter(|&&byte| byte == b'e' || byte == b'a').count();
        assert_eq!([batches(1000), batches(1001), batches(2000)], [1, 2, 2]);
    }

    #[test]
    fn a_streamed_list_holds_its_items() {
        let mut sink = Vec::new();
        start_list(&mut sink).unwrap();
        append(&Pickle::Int(7), &mut sink).unwrap();
        append(&Pickle::None, &mut sink).unwrap();
        end_list(&mut sink).unwrap();
        assert_eq!(sink, b"\x80\x02]K\x07aNa.");
    }
}
