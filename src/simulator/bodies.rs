//! Bodies that are not simply sent: those that break off, drip, swell or lie about themselves.

use std::io::{self, Write as _};
use std::time::Duration;

use axum::body::{Body, Bytes};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream::{self, StreamExt as _};

/// Into so many pieces a body is cut that drips.
const DRIPS: usize = 20;
/// How much of a huge body is made at once.
const PIECE: u64 = 1 << 20;
/// How a huge body begins: like a listing, so that a reader goes on.
const BEGUN: &[u8] = br#"{"desktops":["#;

/// Compresses with little effort, as servers do.
pub(super) fn compress(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 3), Compression::fast());
    encoder.write_all(body).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

/// A body that breaks off, and its connection with it.
pub(super) fn broken(begun: Bytes) -> Body {
    // What was begun must be on its way before it breaks off, or nothing of it is sent.
    let pause = if begun.is_empty() { Duration::ZERO } else { Duration::from_millis(50) };
    let gone = stream::once(async move {
        tokio::time::sleep(pause).await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    Body::from_stream(stream::iter([Ok(begun)]).chain(gone))
}

/// A body that takes its time.
pub(super) fn dripping(body: &Bytes, time: Duration) -> Body {
    let size = body.len().div_ceil(DRIPS).max(1);
    let pieces: Vec<Bytes> =
        (0..body.len()).step_by(size).map(|at| body.slice(at..body.len().min(at + size))).collect();
    let pause = time / u32::try_from(pieces.len().max(1)).expect("they are few");
    let drip = move |piece| async move {
        tokio::time::sleep(pause).await;
        Ok::<_, io::Error>(piece)
    };
    Body::from_stream(stream::iter(pieces).then(drip))
}

/// Something that says to be gzip, and is for its first bytes only.
pub(super) fn bad_gzip() -> Bytes {
    let mut body = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    // A block of a kind that there is none of.
    body.extend([0xff; 64]);
    body.into()
}

/// A body of so many bytes that begins like a listing and never becomes one. It is made as it is
/// read: neither side has to hold it.
pub(super) fn huge(bytes: u64) -> Body {
    let filler = Bytes::from(vec![b' '; PIECE as usize]);
    let rest = stream::unfold(bytes.saturating_sub(BEGUN.len() as u64), move |left| {
        let piece = filler.slice(..left.min(PIECE) as usize);
        std::future::ready((left > 0).then(|| (Ok(piece), left - left.min(PIECE))))
    });
    let begun = stream::iter([Ok::<_, io::Error>(Bytes::from_static(BEGUN))]);
    Body::from_stream(begun.chain(rest))
}

/// The same as gzip: a thousandth on the wire.
pub(super) fn huge_gzip(bytes: u64) -> Body {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(BEGUN).expect("memory takes everything");
    let filler = vec![b' '; PIECE as usize];
    let left = bytes.saturating_sub(BEGUN.len() as u64);
    let pieces = stream::unfold(Some((encoder, left)), move |state| {
        let next = state.map(|(mut encoder, left)| {
            if left == 0 {
                return (encoder.finish().map(Bytes::from), None);
            }
            let size = left.min(PIECE);
            let piece = encoder
                .write_all(&filler[..size as usize])
                .map(|()| Bytes::from(std::mem::take(encoder.get_mut())));
            (piece, Some((encoder, left - size)))
        });
        std::future::ready(next)
    });
    // A piece may have left nothing yet.
    let is_some = |piece: &io::Result<Bytes>| {
        std::future::ready(piece.as_ref().map_or(true, |piece| !piece.is_empty()))
    };
    Body::from_stream(pieces.filter(is_some))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn a_bomb_unfolds_to_what_it_says_and_is_small() {
        for size in [0, 13, 14, PIECE, 5 * PIECE + 3] {
            let plain = to_bytes(huge(size), usize::MAX).await.unwrap();
            assert_eq!(plain.len() as u64, size.max(13));
            let packed = to_bytes(huge_gzip(size), usize::MAX).await.unwrap();
            assert!(packed.len() < 60_000, "{}", packed.len());
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut unpacked).unwrap();
            assert_eq!(unpacked, plain);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_drips_whole_and_for_as_long_as_it_should() {
        for size in [1, 19, 20, 21, 5000] {
            let body = Bytes::from((0..size).map(|at| at as u8).collect::<Vec<u8>>());
            let begun = tokio::time::Instant::now();
            let time = Duration::from_secs(20);
            assert_eq!(to_bytes(dripping(&body, time), usize::MAX).await.unwrap(), body);
            let took = begun.elapsed();
            assert!(took.abs_diff(time) < Duration::from_millis(50), "{size}: {took:?}");
        }
    }
}
