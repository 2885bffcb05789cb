//! Files made to hurt a reader.

/// Text nested `depth` lists deep, valid JSON.
pub fn nested_json(depth: usize) -> Vec<u8> {
    [vec![b'['; depth], vec![b']'; depth]].concat()
}

/// A PNG that states any size; the header is valid, the pixel data is missing but for its first bytes.
pub fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for chunk in [header, b"IDAT\x78\x9c\x01".to_vec()] {
        file.extend((chunk.len() as u32 - 4).to_be_bytes());
        file.extend(&chunk);
        file.extend(crc32(&chunk).to_be_bytes());
    }
    file
}

/// The checksum of PNG chunks.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & 0u32.wrapping_sub(crc & 1)))
    })
}

/// A pickle that would run a command if it were executed: `os.system("...")` by GLOBAL and REDUCE.
pub fn malicious_pickle() -> Vec<u8> {
    b"cos\nsystem\n(S'echo owned > groundling-was-owned'\ntR.".to_vec()
}

/// A pickle that states a string of four gigabytes and ends there.
pub fn boasting_pickle() -> Vec<u8> {
    b"\x80\x02X\xff\xff\xff\xffabc".to_vec()
}

/// A pickle of `depth` lists, one inside the other.
pub fn nested_pickle(depth: usize) -> Vec<u8> {
    [b"\x80\x02".to_vec(), vec![b']'; depth], vec![b'a'; depth - 1], vec![b'.']].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_png() {
        assert_eq!(crc32(b"IEND"), 0xAE42_6082);
        assert_eq!(png_header(1, 1).len(), 48);
    }
}
