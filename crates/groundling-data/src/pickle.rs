//! Python pickles, read over a closed list of opcodes. Nothing is ever executed.
//!
//! A pickle is a program for a small stack machine, and some of its instructions call any function of the reader's
//! machine. Those (`GLOBAL`, `REDUCE`, `BUILD`, `INST`, ...) do not exist here: a file that holds one is refused with the
//! opcode and its place. What remains builds numbers, strings, lists, tuples, sets and dictionaries. Values live in one table and refer to
//! each other by index, so that a file that names one list a million times costs a million numbers, not a million
//! lists, and deep nesting cannot overflow the stack of this program.
//!
//! Protocols 0 to 5, Python 2's byte strings and Python 3's text.

use std::collections::HashMap;

/// What a pickle may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PickleLimits {
    /// Bytes of one string.
    pub max_string_bytes: usize,
    /// Values in all, and entries of the memo.
    pub max_values: usize,
    /// How deeply lists, tuples and dictionaries may be nested.
    pub max_depth: usize,
}

impl Default for PickleLimits {
    /// 1 MiB a string, 100 million values, 64 levels: `refs(unc).p` of RefCOCO has 2 million values, 5 levels.
    fn default() -> Self {
        Self { max_string_bytes: 1 << 20, max_values: 100_000_000, max_depth: 64 }
    }
}

/// Why bytes are not a pickle we read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PickleError {
    /// An opcode that could run code, or that no data file needs.
    #[error(
        "byte {position}: opcode {name} ({code:#04x}) is refused; this reader builds plain data and never calls anything"
    )]
    Refused {
        /// Where.
        position: usize,
        /// The opcode.
        code: u8,
        /// Its name, "unknown" if it has none.
        name: &'static str,
    },
    /// The file ends inside an instruction or before STOP.
    #[error("byte {position}: the pickle ends here, expected {expected}")]
    Truncated {
        /// Where.
        position: usize,
        /// What should follow.
        expected: &'static str,
    },
    /// An instruction finds the stack in a state it cannot work on.
    #[error("byte {position}: {what}")]
    Malformed {
        /// Where.
        position: usize,
        /// What is wrong.
        what: String,
    },
    /// A limit is exceeded.
    #[error("byte {position}: {what} is {found}, expected at most {limit}")]
    Limit {
        /// Where.
        position: usize,
        /// Which quantity.
        what: &'static str,
        /// Value found.
        found: u64,
        /// Value allowed.
        limit: u64,
    },
}

type Index = u32;

#[derive(Debug, Clone, PartialEq)]
enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// Little-endian two's complement, too long for 64 bits.
    BigInt(Vec<u8>),
    Float(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    List(Vec<Index>),
    Tuple(Vec<Index>),
    /// Keys and values in turn.
    Dict(Vec<Index>),
}

/// A pickle that was read: a table of values and the one on top.
#[derive(Debug, Clone)]
pub struct Pickle {
    nodes: Vec<Node>,
    root: Index,
}

/// One value of a pickle.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    pickle: &'a Pickle,
    index: Index,
}

impl Pickle {
    /// Reads the pickle at the start of `bytes`, and says how many bytes it took.
    ///
    /// # Errors
    /// [`PickleError`] with the byte position.
    pub fn read_prefix(bytes: &[u8], limits: PickleLimits) -> Result<(Self, usize), PickleError> {
        Machine::new(bytes, limits).run()
    }

    /// Reads a whole pickle; bytes after its end are ignored, as Python ignores them.
    ///
    /// # Errors
    /// [`PickleError`] with the byte position.
    pub fn read(bytes: &[u8], limits: PickleLimits) -> Result<Self, PickleError> {
        Self::read_prefix(bytes, limits).map(|(pickle, _)| pickle)
    }

    /// The value on top.
    pub fn root(&self) -> Value<'_> {
        Value { pickle: self, index: self.root }
    }
}

impl<'a> Value<'a> {
    fn node(self) -> &'a Node {
        &self.pickle.nodes[self.index as usize]
    }

    fn at(self, index: Index) -> Self {
        Self { index, ..self }
    }

    /// The Python name of its type.
    pub fn type_name(self) -> &'static str {
        match self.node() {
            Node::None => "None",
            Node::Bool(_) => "bool",
            Node::Int(_) | Node::BigInt(_) => "int",
            Node::Float(_) => "float",
            Node::Text(_) => "str",
            Node::Bytes(_) => "bytes",
            Node::List(_) => "list",
            Node::Tuple(_) => "tuple",
            Node::Dict(_) => "dict",
        }
    }

    /// Whether it is `None`.
    pub fn is_none(self) -> bool {
        matches!(self.node(), Node::None)
    }

    /// A truth value.
    pub fn as_bool(self) -> Option<bool> {
        match self.node() {
            Node::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// A whole number of 64 bits.
    pub fn as_i64(self) -> Option<i64> {
        match self.node() {
            Node::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// A number.
    pub fn as_f64(self) -> Option<f64> {
        match self.node() {
            Node::Int(value) => Some(*value as f64),
            Node::Float(value) => Some(*value),
            _ => None,
        }
    }

    /// A text. Python 2's byte strings count if they are UTF-8.
    pub fn as_str(self) -> Option<&'a str> {
        match self.node() {
            Node::Text(text) => Some(text),
            Node::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The bytes of a text or byte string.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        match self.node() {
            Node::Text(text) => Some(text.as_bytes()),
            Node::Bytes(bytes) => Some(bytes),
            Node::BigInt(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The items of a list or tuple.
    pub fn items(self) -> Option<impl ExactSizeIterator<Item = Value<'a>> + 'a> {
        match self.node() {
            Node::List(items) | Node::Tuple(items) => Some(items.iter().map(move |&index| self.at(index))),
            _ => None,
        }
    }

    /// The entries of a dictionary.
    pub fn entries(self) -> Option<impl DoubleEndedIterator<Item = (Value<'a>, Value<'a>)> + 'a> {
        match self.node() {
            Node::Dict(entries) => Some(entries.chunks_exact(2).map(move |pair| (self.at(pair[0]), self.at(pair[1])))),
            _ => None,
        }
    }

    /// The value under a text key of a dictionary; the last one if the key stands twice, as in Python.
    pub fn get(self, key: &str) -> Option<Value<'a>> {
        self.entries()?.rev().find(|(name, _)| name.as_str() == Some(key)).map(|(_, value)| value)
    }
}

impl std::fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.node() {
            Node::List(items) | Node::Tuple(items) => write!(f, "{} of {}", self.type_name(), items.len()),
            Node::Dict(entries) => write!(f, "dict of {}", entries.len() / 2),
            node => write!(f, "{node:?}"),
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Start of the instruction being run, for messages.
    opcode: usize,
    limits: PickleLimits,
    nodes: Vec<Node>,
    stack: Vec<Index>,
    marks: Vec<usize>,
    memo: HashMap<u32, Index>,
    /// Links between values; bounds what APPENDS of shared values can build.
    links: usize,
}

impl<'a> Machine<'a> {
    fn new(bytes: &'a [u8], limits: PickleLimits) -> Self {
        Self {
            bytes,
            position: 0,
            opcode: 0,
            limits,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            links: 0,
        }
    }

    fn run(mut self) -> Result<(Pickle, usize), PickleError> {
        loop {
            self.opcode = self.position;
            let code = self.byte("an opcode or STOP")?;
            if code == b'.' {
                break;
            }
            self.step(code)?;
        }
        let root = self.pop()?;
        self.check_depth(root)?;
        Ok((Pickle { nodes: self.nodes, root }, self.position))
    }

    fn step(&mut self, code: u8) -> Result<(), PickleError> {
        match code {
            0x80 => self.protocol(),
            0x95 => self.take(8, "a frame length").map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                self.limit("nesting of marks", self.marks.len(), self.limits.max_depth.saturating_mul(4))
            }
            b'0' => self.pop().map(drop),
            b'1' => self.pop_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.push_index(top)
            }
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'I' | b'L' | b'F' => self.number_line(code),
            b'J' => self.int(4, true),
            b'K' => self.int(1, false),
            b'M' => self.int(2, false),
            0x8a => {
                let length = usize::from(self.byte("the length of an integer")?);
                self.long(length)
            }
            0x8b => {
                let length = self.length(4)?;
                self.long(length)
            }
            b'G' => {
                let raw = self.take(8, "a float")?;
                let value = f64::from_be_bytes(raw.try_into().unwrap_or_default());
                self.push(Node::Float(value))
            }
            b'S' => self.quoted_line(),
            b'V' => self.unicode_line(),
            b'U' | b'C' => self.string(1, false),
            b'T' | b'B' => self.string(4, false),
            0x8e => self.string(8, false),
            0x8c => self.string(1, true),
            b'X' => self.string(4, true),
            0x8d => self.string(8, true),
            b']' | b')' | b'}' | 0x8f => self.push(match code {
                b']' | 0x8f => Node::List(Vec::new()),
                b')' => Node::Tuple(Vec::new()),
                _ => Node::Dict(Vec::new()),
            }),
            b'l' | b't' | b'd' | 0x91 => {
                let items = self.pop_mark()?;
                self.push_collection(code, items)
            }
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let items = self.pop_many(count)?;
                self.push_collection(b't', items)
            }
            b'a' => {
                let items = self.pop_many(1)?;
                self.extend(items)
            }
            b's' => {
                let items = self.pop_many(2)?;
                self.extend(items)
            }
            b'e' | b'u' | 0x90 => {
                let items = self.pop_mark()?;
                self.extend(items)
            }
            b'p' | b'q' | b'r' | 0x94 => self.remember(code),
            b'g' | b'h' | b'j' => self.recall(code),
            _ => Err(PickleError::Refused { position: self.opcode, code, name: refused_name(code) }),
        }
    }

    fn malformed<T>(&self, what: impl Into<String>) -> Result<T, PickleError> {
        Err(PickleError::Malformed { position: self.opcode, what: what.into() })
    }

    fn limit(&self, what: &'static str, found: usize, limit: usize) -> Result<(), PickleError> {
        if found <= limit {
            return Ok(());
        }
        Err(PickleError::Limit { position: self.opcode, what, found: found as u64, limit: limit as u64 })
    }

    fn byte(&mut self, expected: &'static str) -> Result<u8, PickleError> {
        Ok(self.take(1, expected)?[0])
    }

    fn take(&mut self, count: usize, expected: &'static str) -> Result<&'a [u8], PickleError> {
        let end = self.position.checked_add(count).filter(|&end| end <= self.bytes.len());
        let Some(end) = end else { return Err(PickleError::Truncated { position: self.bytes.len(), expected }) };
        let taken = &self.bytes[self.position..end];
        self.position = end;
        Ok(taken)
    }

    /// The text up to the next line feed.
    fn line(&mut self) -> Result<&'a [u8], PickleError> {
        let rest = &self.bytes[self.position..];
        let window = &rest[..rest.len().min(self.limits.max_string_bytes.saturating_mul(6).saturating_add(2))];
        let Some(length) = window.iter().position(|&b| b == b'\n') else {
            self.limit("length of a line", rest.len(), window.len())?;
            return Err(PickleError::Truncated { position: self.bytes.len(), expected: "the end of a line" });
        };
        self.position += length + 1;
        let line = &rest[..length];
        Ok(line.strip_suffix(b"\r").unwrap_or(line))
    }

    fn length(&mut self, width: usize) -> Result<usize, PickleError> {
        let raw = self.take(width, "a length")?;
        let value = raw.iter().rev().fold(0u64, |value, &byte| value << 8 | u64::from(byte));
        let limit = self.limits.max_string_bytes as u64;
        if value > limit {
            let what = "length of a string";
            return Err(PickleError::Limit { position: self.opcode, what, found: value, limit });
        }
        Ok(value as usize)
    }

    fn protocol(&mut self) -> Result<(), PickleError> {
        match self.byte("a protocol number")? {
            0..=5 => Ok(()),
            other => self.malformed(format!("protocol {other}, expected 0 to 5")),
        }
    }

    fn push(&mut self, node: Node) -> Result<(), PickleError> {
        self.limit("number of values", self.nodes.len() + 1, self.limits.max_values)?;
        let index = self.nodes.len() as Index;
        self.nodes.push(node);
        self.push_index(index)
    }

    fn push_index(&mut self, index: Index) -> Result<(), PickleError> {
        self.limit("depth of the stack", self.stack.len() + 1, self.limits.max_values)?;
        self.stack.push(index);
        Ok(())
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn top(&self) -> Result<Index, PickleError> {
        match self.stack.last() {
            Some(&index) if self.stack.len() > self.floor() => Ok(index),
            _ => self.malformed("the stack is empty, expected a value"),
        }
    }

    fn pop(&mut self) -> Result<Index, PickleError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<Index>, PickleError> {
        let start = self.stack.len().checked_sub(count).filter(|&start| start >= self.floor());
        match start {
            Some(start) => Ok(self.stack.split_off(start)),
            None => self.malformed(format!("the stack holds fewer than {count} values")),
        }
    }

    fn pop_mark(&mut self) -> Result<Vec<Index>, PickleError> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => self.malformed("there is no MARK on the stack"),
        }
    }

    fn push_collection(&mut self, code: u8, items: Vec<Index>) -> Result<(), PickleError> {
        self.links += items.len();
        self.limit("number of items", self.links, self.limits.max_values)?;
        match code {
            b'l' => self.push(Node::List(items)),
            b'd' if items.len().is_multiple_of(2) => self.push(Node::Dict(items)),
            b'd' => self.malformed("a dictionary has a key without a value"),
            _ => self.push(Node::Tuple(items)),
        }
    }

    fn extend(&mut self, items: Vec<Index>) -> Result<(), PickleError> {
        self.links += items.len();
        self.limit("number of items", self.links, self.limits.max_values)?;
        let target = self.top()? as usize;
        let by_pairs = matches!(self.bytes[self.opcode], b's' | b'u');
        match &mut self.nodes[target] {
            Node::List(list) if !by_pairs => list.extend(items),
            Node::Dict(entries) if by_pairs && items.len().is_multiple_of(2) => entries.extend(items),
            _ => return self.malformed("items are added to a value that cannot hold them"),
        }
        Ok(())
    }

    fn number_line(&mut self, code: u8) -> Result<(), PickleError> {
        let line = self.line()?;
        let text = String::from_utf8_lossy(line).trim().to_owned();
        let node = match (code, text.as_str()) {
            (b'I', "00") => Some(Node::Bool(false)),
            (b'I', "01") => Some(Node::Bool(true)),
            (b'F', text) => text.parse().ok().map(Node::Float),
            (_, text) => text.strip_suffix('L').unwrap_or(text).parse().ok().map(Node::Int),
        };
        match node {
            Some(node) => self.push(node),
            None => self.malformed(format!("{:?} is no number of 64 bits", text.chars().take(40).collect::<String>())),
        }
    }

    fn int(&mut self, width: usize, signed: bool) -> Result<(), PickleError> {
        let raw = self.take(width, "an integer")?;
        let value = raw.iter().rev().fold(0i64, |value, &byte| value << 8 | i64::from(byte));
        self.push(Node::Int(if signed { i64::from(value as i32) } else { value }))
    }

    fn long(&mut self, length: usize) -> Result<(), PickleError> {
        let raw = self.take(length, "an integer")?;
        let negative = raw.last().is_some_and(|&high| high & 0x80 != 0);
        if length > 8 {
            return self.push(Node::BigInt(raw.to_vec()));
        }
        let start = if negative { -1 } else { 0 };
        self.push(Node::Int(raw.iter().rev().fold(start, |value, &byte| value << 8 | i64::from(byte))))
    }

    fn string(&mut self, width: usize, text: bool) -> Result<(), PickleError> {
        let length = self.length(width)?;
        let raw = self.take(length, "a string")?;
        match (text, std::str::from_utf8(raw)) {
            (true, Ok(text)) => self.push(Node::Text(text.into())),
            (true, Err(error)) => self.malformed(format!("a text is not UTF-8 at its byte {}", error.valid_up_to())),
            (false, _) => self.push(Node::Bytes(raw.into())),
        }
    }

    /// Python 2's `'...'` with backslash escapes.
    fn quoted_line(&mut self) -> Result<(), PickleError> {
        let line = self.line()?;
        let quote = line.first().copied().filter(|&q| q == b'\'' || q == b'"');
        let (Some(quote), true) = (quote, line.len() >= 2) else {
            return self.malformed("a string without quotes");
        };
        if line.last() != Some(&quote) {
            return self.malformed("a string without its closing quote");
        }
        match unescape(&line[1..line.len() - 1]) {
            Some(bytes) => self.push(Node::Bytes(bytes.into())),
            None => self.malformed("a string with a broken escape"),
        }
    }

    /// Python's raw-unicode-escape: Latin-1 bytes with `\uhhhh` and `\Uhhhhhhhh`.
    fn unicode_line(&mut self) -> Result<(), PickleError> {
        let line = self.line()?;
        let mut units: Vec<u32> = Vec::with_capacity(line.len());
        let mut rest = line;
        while let Some((&first, after)) = rest.split_first() {
            rest = after;
            let digits = match (first, after.first()) {
                (b'\\', Some(b'u')) => 4,
                (b'\\', Some(b'U')) => 8,
                _ => {
                    units.push(u32::from(first));
                    continue;
                }
            };
            let hex = after.get(1..=digits).and_then(|hex| std::str::from_utf8(hex).ok());
            let Some(value) = hex.and_then(|hex| u32::from_str_radix(hex, 16).ok()) else {
                return self.malformed("a text with a broken escape");
            };
            units.push(value);
            rest = &after[digits + 1..];
        }
        // Surrogate pairs, as a narrow Python 2 wrote them, are one character.
        let mut text = String::with_capacity(units.len());
        let mut units = units.into_iter().peekable();
        while let Some(unit) = units.next() {
            let pair = units.peek().copied().filter(|low| (0xDC00..0xE000).contains(low));
            let value = match pair {
                Some(low) if (0xD800..0xDC00).contains(&unit) => {
                    units.next();
                    0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00)
                }
                _ => unit,
            };
            text.push(char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        self.push(Node::Text(text.into()))
    }

    fn memo_key(&mut self, code: u8) -> Result<u32, PickleError> {
        match code {
            b'q' | b'h' => self.byte("a memo number").map(u32::from),
            b'r' | b'j' => {
                let raw = self.take(4, "a memo number")?;
                Ok(u32::from_le_bytes(raw.try_into().unwrap_or_default()))
            }
            0x94 => Ok(self.memo.len() as u32),
            _ => {
                let line = self.line()?;
                match std::str::from_utf8(line).ok().and_then(|text| text.trim().parse().ok()) {
                    Some(key) => Ok(key),
                    None => self.malformed("a memo number that is none"),
                }
            }
        }
    }

    fn remember(&mut self, code: u8) -> Result<(), PickleError> {
        let key = self.memo_key(code)?;
        let top = self.top()?;
        self.memo.insert(key, top);
        self.limit("number of memo entries", self.memo.len(), self.limits.max_values)
    }

    fn recall(&mut self, code: u8) -> Result<(), PickleError> {
        let key = self.memo_key(code)?;
        match self.memo.get(&key) {
            Some(&index) => self.push_index(index),
            None => self.malformed(format!("memo entry {key} was never written")),
        }
    }

    /// Walks the values below the root without recursion; too deep, or a value inside itself, is an error.
    fn check_depth(&self, root: Index) -> Result<(), PickleError> {
        const UNSEEN: u8 = 0;
        const OPEN: u8 = 1;
        const DONE: u8 = 2;
        let mut state = vec![UNSEEN; self.nodes.len()];
        // Height below each finished value, so that a value reached twice is counted at its deepest place.
        let mut height = vec![0u32; self.nodes.len()];
        let mut path: Vec<(Index, usize)> = vec![(root, 0)];
        state[root as usize] = OPEN;
        while let Some((index, next)) = path.last_mut() {
            let children: &[Index] = match &self.nodes[*index as usize] {
                Node::List(items) | Node::Tuple(items) | Node::Dict(items) => items,
                _ => &[],
            };
            if let Some(&child) = children.get(*next) {
                *next += 1;
                match state[child as usize] {
                    OPEN => return self.malformed("a list or dictionary contains itself"),
                    UNSEEN => {
                        state[child as usize] = OPEN;
                        path.push((child, 0));
                        self.limit("nesting", path.len() - 1, self.limits.max_depth)?;
                    }
                    _ => {
                        let depth = path.len() + height[child as usize] as usize;
                        self.limit("nesting", depth, self.limits.max_depth)?;
                    }
                }
                continue;
            }
            let below = children.iter().map(|&child| height[child as usize] + 1).max().unwrap_or(0);
            height[*index as usize] = below;
            state[*index as usize] = DONE;
            path.pop();
        }
        Ok(())
    }
}

fn unescape(raw: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let (&kind, after) = after.split_first()?;
        rest = after;
        match kind {
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'r' => bytes.push(b'\r'),
            b'a' => bytes.push(7),
            b'b' => bytes.push(8),
            b'f' => bytes.push(12),
            b'v' => bytes.push(11),
            b'x' => {
                let hex = std::str::from_utf8(after.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(hex, 16).ok()?);
                rest = &after[2..];
            }
            b'0'..=b'7' => {
                let mut value = u32::from(kind - b'0');
                let mut used = 0;
                while let Some(&digit @ b'0'..=b'7') = after.get(used).filter(|_| used < 2) {
                    value = value * 8 + u32::from(digit - b'0');
                    used += 1;
                }
                bytes.push(value as u8);
                rest = &after[used..];
            }
            b'\\' | b'\'' | b'"' => bytes.push(kind),
            other => bytes.extend([b'\\', other]),
        }
    }
    Some(bytes)
}

fn refused_name(code: u8) -> &'static str {
    match code {
        b'c' => "GLOBAL",
        0x93 => "STACK_GLOBAL",
        b'R' => "REDUCE",
        b'b' => "BUILD",
        b'i' => "INST",
        b'o' => "OBJ",
        0x81 => "NEWOBJ",
        0x92 => "NEWOBJ_EX",
        b'P' => "PERSID",
        b'Q' => "BINPERSID",
        0x82..=0x84 => "EXT",
        0x96..=0x98 => "BYTEARRAY8 or BUFFER",
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use groundling_testkit::hostile;

    fn read(bytes: &[u8]) -> Result<Pickle, PickleError> {
        Pickle::read(bytes, PickleLimits::default())
    }

    #[test]
    fn plain_data_of_every_protocol() {
        // {'a': [1, -2, 2.5, None, True], u'\xe9': ('x', 'yz')} as CPython writes it.
        let zero = b"(dp0\nS'a'\np1\n(lp2\nI1\naI-2\naF2.5\naNaI01\nasV\xe9\np3\n(S'x'\nS'y\\x7a'\ntp4\ns.".as_slice();
        let two =
            b"\x80\x02}q\x00(U\x01aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00N\x88eX\x02\x00\x00\x00\xc3\xa9q\x03U\x01xU\x02yz\x86q\x04u.";
        let four =
            b"\x80\x04\x95\x2a\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94]\x94(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00N\x88e\x8c\x02\xc3\xa9\x94\x8c\x01x\x94\x8c\x02yz\x94\x86\x94u.";
        for bytes in [zero, two, four] {
            let pickle = read(bytes).unwrap();
            let list: Vec<_> = pickle.root().get("a").unwrap().items().unwrap().collect();
            assert_eq!((list[0].as_i64(), list[1].as_i64(), list[2].as_f64()), (Some(1), Some(-2), Some(2.5)));
            assert!(list[3].is_none() && list[4].as_bool() == Some(true));
            let pair: Vec<_> = pickle.root().get("é").unwrap().items().unwrap().map(|v| v.as_str().unwrap()).collect();
            assert_eq!(pair, ["x", "yz"]);
        }
    }

    #[test]
    fn long_integers() {
        let value = |bytes: &[u8]| read(bytes).unwrap().root().as_i64();
        assert_eq!(value(b"\x80\x02\x8a\x00."), Some(0));
        assert_eq!(value(b"\x80\x02\x8a\x01\xff."), Some(-1));
        assert_eq!(value(b"\x80\x02\x8a\x02\xff\x00."), Some(255));
        assert_eq!(value(b"L-12345678901L\n."), Some(-12_345_678_901));
        assert_eq!(value(b"\x80\x02\x8a\x0aaaaaaaaaaa."), None, "beyond 64 bits");
    }

    #[test]
    fn code_is_refused_by_name() {
        let error = read(&hostile::malicious_pickle()).unwrap_err();
        assert_eq!(error, PickleError::Refused { position: 0, code: b'c', name: "GLOBAL" });
        for (bytes, name) in [
            (&b"\x80\x04\x8c\x02os\x8c\x06system\x93."[..], "STACK_GLOBAL"),
            (b"(S'ls'\nios\nsystem\n.", "INST"),
            (b"]]R.", "REDUCE"),
            (b"]}b.", "BUILD"),
            (b"P1\n.", "PERSID"),
            (b"\xff", "unknown"),
        ] {
            match read(bytes) {
                Err(PickleError::Refused { name: found, .. }) => assert_eq!(found, name),
                other => panic!("{bytes:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn limits_hold() {
        let error = read(&hostile::boasting_pickle()).unwrap_err();
        assert!(matches!(error, PickleError::Limit { what: "length of a string", found: 0xFFFF_FFFF, .. }));
        let deep = read(&hostile::nested_pickle(100_000)).unwrap_err();
        assert!(matches!(deep, PickleError::Limit { what: "nesting", .. }), "{deep:?}");
        assert!(read(&hostile::nested_pickle(60)).is_ok());
        // Depth made by sharing: each list holds the one before it, built inside out.
        let mut sharing = b"\x80\x02]q\x00".to_vec();
        for _ in 0..200 {
            sharing.extend(b"0]h\x00aq\x00");
        }
        sharing.push(b'.');
        assert!(matches!(read(&sharing).unwrap_err(), PickleError::Limit { what: "nesting", .. }));
        let small = PickleLimits { max_values: 10, ..PickleLimits::default() };
        let many = [b"]".to_vec(), b"Na".repeat(20), b".".to_vec()].concat();
        assert!(matches!(Pickle::read(&many, small), Err(PickleError::Limit { what: "number of values", .. })));
    }

    #[test]
    fn a_billion_laughs_stay_small() {
        // Ten levels of lists that each name the one below ten times: 10^10 if copied, about 120 links here.
        let mut bytes = b"\x80\x02]q\x00".to_vec();
        for level in 1..=10u8 {
            bytes.extend([b"]q".as_slice(), &[level], b"("].concat());
            bytes.extend([b'h', level - 1].repeat(10));
            bytes.push(b'e');
        }
        bytes.push(b'.');
        let pickle = read(&bytes).unwrap();
        assert_eq!(pickle.root().items().unwrap().len(), 10);
        assert!(pickle.nodes.len() < 20);
    }

    #[test]
    fn a_list_inside_itself_is_an_error() {
        let error = read(b"\x80\x02]q\x00h\x00a.").unwrap_err();
        assert!(error.to_string().contains("contains itself"), "{error}");
    }

    #[test]
    fn truncation_at_every_byte_is_an_error() {
        let whole = b"\x80\x02}q\x00(U\x01aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\x00\x00\x00\x00\x00\x00N\x88eu.";
        assert!(read(whole).is_ok());
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{end} bytes");
        }
    }
}
