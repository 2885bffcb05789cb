//! Names by content.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use groundling_data::examples::{ExampleError, Examples, Picture};
use groundling_data::text::wordpiece::WordPiece;
use sha2::{Digest, Sha256};

/// SHA-256 of some bytes, as 64 hexadecimal digits.
pub fn of_bytes(bytes: &[u8]) -> String {
    digits(Sha256::digest(bytes).as_slice())
}

/// SHA-256 of a file, as 64 hexadecimal digits.
///
/// # Errors
/// If it cannot be read.
pub fn of_file(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(digits(digest.finalize().as_slice())),
            read => digest.update(&buffer[..read]),
        }
    }
}

/// Pictures that [`of_examples`] looks at.
pub const SAMPLED: usize = 100;

/// SHA-256 over the first [`SAMPLED`] pictures of a source, with their phrases and objects: where it differs, the data do.
///
/// # Errors
/// If a picture cannot be read.
pub fn of_examples(examples: &Examples) -> Result<String, ExampleError> {
    let mut digest = Sha256::new();
    for index in 0..examples.len().min(SAMPLED) {
        let Picture { image, about } = examples.picture(index)?;
        digest.update(format!("{}\n{} {}\n", about.file_name, image.width(), image.height()));
        digest.update(image.as_raw());
        for phrase in &about.phrases {
            digest.update(format!("{} {:?}\n", phrase.phrase.as_str(), phrase.targets));
        }
        for object in &about.objects {
            digest.update(format!("{:?} {:?}\n", object.bbox.to_array(), object.class));
        }
    }
    Ok(digits(digest.finalize().as_slice()))
}

/// SHA-256 of a vocabulary as its file has it: a token a line, in the order of the ids.
pub fn of_vocabulary(words: &WordPiece) -> String {
    let mut digest = Sha256::new();
    for id in 0.. {
        let Some(token) = words.token(id) else { break };
        digest.update(token.as_bytes());
        digest.update(b"\n");
    }
    digits(digest.finalize().as_slice())
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_sha256() {
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_bytes(b"abc"), abc);
        // What `sha256sum` says of the published vocab.txt of bert-base-uncased.
        let vocabulary = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3";
        assert_eq!(of_vocabulary(&WordPiece::bert_base_uncased()), vocabulary);
    }
}
