//! Which phrases are asked about which pictures.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use groundling_core::Phrase;
use serde::Deserialize;

use crate::flags::Ground;
use crate::output::Failed;

/// A picture and what is asked about it.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) image: PathBuf,
    /// The picture as it was written, which is what records call it.
    pub(crate) name: String,
    pub(crate) phrases: Vec<AskedPhrase>,
}

#[derive(Debug, Clone)]
pub(crate) struct AskedPhrase {
    pub(crate) phrase: Phrase,
    /// Id of the record.
    pub(crate) id: String,
    /// Position among all answers.
    pub(crate) position: usize,
}

/// What was asked, and the lines that could not be.
pub(crate) fn read(flags: &Ground) -> anyhow::Result<(Vec<Asked>, Vec<Failed>)> {
    if let Some(file) = &flags.input {
        return lines(file);
    }
    let mut inputs: Vec<&OsStr> = flags.inputs.iter().map(AsRef::as_ref).collect();
    let mut phrases: Vec<&OsStr> = flags.phrases.iter().map(AsRef::as_ref).collect();
    if phrases.is_empty() {
        match inputs.pop() {
            Some(last) if !inputs.is_empty() => phrases.push(last),
            Some(_) => bail!("one argument; `ground` needs a picture and a phrase"),
            None => bail!("`ground` needs a picture and a phrase"),
        }
    }
    let phrases: Vec<Phrase> =
        phrases.into_iter().map(|text| Phrase::parse_bytes(text.as_encoded_bytes())).collect::<Result<_, _>>()?;
    let mut images = Vec::new();
    for input in inputs {
        expand(Path::new(input), &mut images)?;
    }
    if images.is_empty() {
        bail!("`ground` needs a picture");
    }
    let asked = |(number, image): (usize, PathBuf)| {
        let name = image.display().to_string();
        let one = |(index, phrase): (usize, &Phrase)| {
            let position = number * phrases.len() + index;
            AskedPhrase { phrase: phrase.clone(), id: (position + 1).to_string(), position }
        };
        Asked { phrases: phrases.iter().enumerate().map(one).collect(), image, name }
    };
    Ok((images.into_iter().enumerate().map(asked).collect(), Vec::new()))
}

/// A file as it is, the pictures of a folder, or what a pattern finds.
pub(crate) fn expand(input: &Path, images: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if input.is_dir() {
        let entries = std::fs::read_dir(input).with_context(|| input.display().to_string())?;
        let mut found = Vec::new();
        for entry in entries {
            let path = entry.with_context(|| input.display().to_string())?.path();
            if path.is_file() && is_picture(&path) {
                found.push(path);
            }
        }
        if found.is_empty() {
            bail!("{}: the folder has no JPEG, PNG, WebP or BMP file", input.display());
        }
        found.sort();
        images.extend(found);
        return Ok(());
    }
    let pattern = input.to_str().filter(|text| text.contains(['*', '?', '[']) && !input.exists());
    let Some(pattern) = pattern else {
        // A file that is not there is reported when it is opened, with the others that are.
        images.push(input.to_owned());
        return Ok(());
    };
    let before = images.len();
    for path in glob::glob(pattern).with_context(|| format!("pattern {pattern:?}"))? {
        let path = path.with_context(|| format!("pattern {pattern:?}"))?;
        if path.is_file() {
            images.push(path);
        }
    }
    if images.len() == before {
        bail!("no file is called {pattern:?}");
    }
    Ok(())
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(OsStr::to_str).map(str::to_ascii_lowercase);
    ending.is_some_and(|ending| ["jpg", "jpeg", "png", "webp", "bmp"].contains(&ending.as_str()))
}

/// A line of `--input`. Lines of our data sets are such lines too, so that other fields are no error.
#[derive(Deserialize)]
struct Line {
    image: PathBuf,
    phrase: String,
    id: Option<serde_json::Value>,
}

/// Bytes of a line, far beyond a path and a phrase.
const MAX_LINE: u64 = 1 << 20;

fn lines(file: &Path) -> anyhow::Result<(Vec<Asked>, Vec<Failed>)> {
    let place = |number: usize| format!("{}:{number}", file.display());
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut reader = BufReader::new(std::fs::File::open(file).with_context(|| file.display().to_string())?);
    let (mut asked, mut failed) = (Vec::<Asked>::new(), Vec::new());
    let mut by_image: HashMap<PathBuf, usize> = HashMap::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        reader.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line).with_context(|| place(number))?;
        if line.is_empty() {
            break;
        }
        if line.len() as u64 > MAX_LINE {
            bail!("{}: the line is longer than {MAX_LINE} bytes", place(number));
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let parsed = serde_json::from_slice::<Line>(&line).map_err(anyhow::Error::from).and_then(|line| {
            let phrase = Phrase::parse(&line.phrase)?;
            Ok((line, phrase))
        });
        match parsed {
            Err(error) => failed.push(Failed { place: place(number), error }),
            Ok((Line { image, id, .. }, phrase)) => {
                let id = match id {
                    Some(serde_json::Value::String(id)) => id,
                    Some(id @ serde_json::Value::Number(_)) => id.to_string(),
                    _ => number.to_string(),
                };
                let one = AskedPhrase { phrase, id, position: number };
                let index = *by_image.entry(image.clone()).or_insert(asked.len());
                match asked.get_mut(index) {
                    Some(known) => known.phrases.push(one),
                    None => {
                        let name = image.display().to_string();
                        asked.push(Asked { image: folder.join(image), name, phrases: vec![one] });
                    }
                }
            }
        }
    }
    if asked.is_empty() && failed.is_empty() {
        bail!("{}: no line", file.display());
    }
    Ok((asked, failed))
}
