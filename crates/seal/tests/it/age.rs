//! Round trips and damage.

use proptest::prelude::*;
use salvor_seal::Digest;
use salvor_seal::age::{
    AgeError, Identity, ObjectOpener, ObjectSealer, Opener, Recipient, SealedDigests, Sealer,
};

/// Lengths around the edges of pieces.
const LENGTHS: [usize; 9] = [0, 1, 100, 65_535, 65_536, 65_537, 131_072, 131_073, 300_000];

pub(crate) fn identity() -> Identity {
    Identity::generate().expect("random numbers")
}

/// Bytes that do not compress away and are the same each time.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 56) as u8 & 0x3f
    };
    (0..length).map(|_| next()).collect()
}

pub(crate) fn seal(recipients: &[Recipient], bytes: &[u8], step: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut sealer = Sealer::begin(recipients, &mut out).expect("begins");
    bytes
        .chunks(step)
        .for_each(|piece| sealer.push(piece, &mut out));
    sealer.finish(&mut out);
    out
}

pub(crate) fn open(
    identities: &[Identity],
    bytes: &[u8],
    step: usize,
) -> Result<Vec<u8>, AgeError> {
    let mut out = Vec::new();
    let mut opener = Opener::new(identities);
    for piece in bytes.chunks(step) {
        opener.push(piece, &mut out)?;
    }
    opener.finish(&mut out)?;
    Ok(out)
}

pub(crate) fn seal_object(recipients: &[Recipient], bytes: &[u8]) -> (Vec<u8>, SealedDigests) {
    let mut out = Vec::new();
    let mut sealer = ObjectSealer::begin(recipients, &mut out).expect("begins");
    for piece in bytes.chunks(10_000) {
        sealer.push(piece, &mut out).expect("compresses");
    }
    let digests = sealer.finish(&mut out).expect("ends");
    (out, digests)
}

pub(crate) fn open_object(
    identities: &[Identity],
    bytes: &[u8],
    step: usize,
) -> Result<(Vec<u8>, SealedDigests), AgeError> {
    let mut out = Vec::new();
    let mut opener = ObjectOpener::new(identities)?;
    for piece in bytes.chunks(step) {
        opener.push(piece, &mut out)?;
    }
    let digests = opener.finish(&mut out)?;
    Ok((out, digests))
}

#[test]
fn what_was_encrypted_comes_back_whatever_the_pieces() {
    let me = identity();
    for length in LENGTHS {
        let bytes = content(length);
        for step in [7_777, 65_536, 1_000_000] {
            let sealed = seal(&[me.recipient()], &bytes, step);
            let opened = open(std::slice::from_ref(&me), &sealed, step).expect("opens");
            assert!(opened == bytes, "{length} bytes in pieces of {step}");
        }
    }
    // A byte at a time, header and all.
    let sealed = seal(&[me.recipient()], b"short", 1);
    assert_eq!(open(&[me], &sealed, 1).expect("opens"), b"short");
}

#[test]
fn each_recipient_reads_it_and_nobody_else() {
    let (one, two, other) = (identity(), identity(), identity());
    let sealed = seal(&[one.recipient(), two.recipient()], b"text", 100);
    for reader in [&one, &two] {
        let identities = [other.clone(), reader.clone()];
        assert_eq!(open(&identities, &sealed, 50).expect("opens"), b"text");
    }
    let refused = open(&[other], &sealed, 50).expect_err("not for us");
    assert!(
        matches!(
            refused,
            AgeError::NotForUs {
                recipients: 2,
                others: 0
            }
        ),
        "{refused}"
    );
    assert!(matches!(
        open(&[], &sealed, 50),
        Err(AgeError::NotForUs { .. })
    ));
    assert!(matches!(
        Sealer::begin(&[], &mut Vec::new()),
        Err(AgeError::NoRecipients)
    ));
}

#[test]
fn the_same_content_is_never_the_same_file() {
    let to = [identity().recipient()];
    assert_ne!(seal(&to, b"text", 4), seal(&to, b"text", 4));
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_refused() {
    let me = identity();
    let sealed = seal(&[me.recipient()], &content(70_000), 70_000);
    let header = sealed.len() - 70_000 - 2 * 16 - 16;
    let near = (0..header + 40).chain(sealed.len() - 4_600..sealed.len());
    // Also exactly behind a piece, where only the mark of the last one tells.
    for length in near.chain([header + 16 + 65_536 + 16]) {
        let error = open(std::slice::from_ref(&me), &sealed[..length], 9_999);
        assert!(error.is_err(), "{length} of {}", sealed.len());
    }
    let whole_piece = &sealed[..header + 16 + 65_536 + 16];
    assert!(matches!(
        open(std::slice::from_ref(&me), whole_piece, 9_999),
        Err(AgeError::CutOff { at: 0 })
    ));
    let mut longer = sealed.clone();
    longer.push(0);
    assert!(matches!(
        open(&[me], &longer, 9_999),
        Err(AgeError::Damaged { at: 65_536 })
    ));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let me = identity();
    let (sealed, _) = seal_object(&[me.recipient()], &content(500));
    for at in 0..sealed.len() {
        let mut damaged = sealed.clone();
        damaged[at] ^= 1 << (at % 8);
        let error = open_object(std::slice::from_ref(&me), &damaged, 64);
        assert!(error.is_err(), "byte {at} of {}", sealed.len());
    }
}

#[test]
fn pieces_that_change_places_are_noticed() {
    let me = identity();
    let sealed = seal(&[me.recipient()], &content(200_000), 200_000);
    let first = sealed.len() - 200_000 - 4 * 16;
    let mut swapped = sealed[..first].to_vec();
    let piece = 65_536 + 16;
    swapped.extend(&sealed[first + piece..first + 2 * piece]);
    swapped.extend(&sealed[first..first + piece]);
    swapped.extend(&sealed[first + 2 * piece..]);
    assert_eq!(swapped.len(), sealed.len());
    assert!(matches!(
        open(&[me], &swapped, 4096),
        Err(AgeError::Damaged { at: 0 })
    ));
}

#[test]
fn objects_come_back_with_the_digests_of_content_and_object() {
    let me = identity();
    for length in LENGTHS {
        let bytes = content(length);
        let (sealed, written) = seal_object(&[me.recipient()], &bytes);
        assert_eq!(written.content_size, length as u64);
        assert_eq!(written.content, Digest::of(&bytes));
        assert_eq!(written.size, sealed.len() as u64);
        assert_eq!(written.object, Digest::of(&sealed));
        let (opened, read) = open_object(std::slice::from_ref(&me), &sealed, 5_000).expect("opens");
        assert!(opened == bytes, "{length}");
        assert_eq!(read, written);
    }
    let text = b"the same line again\n".repeat(50_000);
    let (sealed, _) = seal_object(&[me.recipient()], &text);
    assert!(sealed.len() < text.len() / 100, "{} bytes", sealed.len());
}

#[test]
fn an_object_whose_content_is_not_what_its_writer_says_is_refused() {
    let me = identity();
    let to = [me.recipient()];
    // As a writer would make it whose memory is broken: the frame is another content's.
    let (sealed, _) = seal_object(&to, b"one content");
    let inside = open(std::slice::from_ref(&me), &sealed, 100).expect("opens");
    let (other, _) = seal_object(&to, b"two content");
    let other = open(std::slice::from_ref(&me), &other, 100).expect("opens");
    let mixed = [&inside[..inside.len() - 56], &other[other.len() - 56..]].concat();
    let mixed = seal(&to, &mixed, 100);
    let me = std::slice::from_ref(&me);
    assert!(matches!(
        open_object(me, &mixed, 100),
        Err(AgeError::Digest)
    ));
    // Compressed bytes that end too early, with and without the frame.
    let cut = seal(&to, &inside[..inside.len() - 60], 100);
    assert!(matches!(open_object(me, &cut, 100), Err(AgeError::Digest)));
    let garbage = seal(&to, b"no compressed bytes at all", 100);
    assert!(matches!(
        open_object(me, &garbage, 100),
        Err(AgeError::Decompress(_))
    ));
}

#[test]
fn hostile_headers_are_refused() {
    let me = identity();
    let sealed = seal(&[me.recipient()], b"text", 4);
    let text = String::from_utf8_lossy(&sealed).into_owned();
    let part = text.lines().nth(1).expect("a part");
    let share = part.rsplit(' ').next().expect("a share");
    let zero = "A".repeat(43);
    let head = "age-encryption.org/v1\n";
    for (header, expected) in [
        (String::new(), "cut off"),
        ("PK\u{3}\u{4} another file".to_owned(), "no file of age"),
        ("age-encryption.org/v2\n-> X".to_owned(), "no file of age"),
        (format!("{head}{}", "x".repeat(70_000)), "does not end"),
        (
            format!("{head}text\n--- AAAA\n{}", "x".repeat(40)),
            "no beginning",
        ),
        (
            format!("{head}-> X25519 {share}\n--- AAAA\n{}", "x".repeat(40)),
            "base64",
        ),
        (
            format!(
                "{head}-> X25519 {share}\nAAAA\n--- AAAA\n{}",
                "x".repeat(40)
            ),
            "not what it should be",
        ),
        (
            format!(
                "{head}-> X25519 {zero}\n{zero}\n--- AAAA\n{}",
                "x".repeat(40)
            ),
            "everybody",
        ),
        (
            format!("{head}-> scrypt a 18\n{zero}\n--- AAAA\n{}", "x".repeat(40)),
            "0 X25519 recipients and 1 others",
        ),
        (
            format!(
                "{head}-> X25519 {share}\n{}\n--- AAAA\n{}",
                "A".repeat(65),
                "x".repeat(40)
            ),
            "too long",
        ),
    ] {
        let error = open(std::slice::from_ref(&me), header.as_bytes(), 1_000).expect_err(&header);
        assert!(error.to_string().contains(expected), "{header}: {error}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0_usize..200) {
        let me = identity();
        let _ = open_object(std::slice::from_ref(&me), &bytes, 33);
        // A real header with anything behind it.
        let (sealed, _) = seal_object(&[me.recipient()], b"text");
        let mixed = [&sealed[..cut.min(sealed.len())], &bytes].concat();
        let _ = open_object(std::slice::from_ref(&me), &mixed, 33);
    }
}
