//! Does any input make the machine panic, loop or contradict itself? One entry for the fuzz target and the tests.

use bytes::{Bytes, BytesMut};

use super::{BodyDecoder, BodyPiece, ChunkRules, HeadRules, RequestParser, ResponseParser};

/// Reads `data` as a stream of requests, as a response, and as a chunked body; first whole, then byte by byte.
///
/// # Panics
/// If the two ways of feeding differ: a fault of ours.
pub fn fuzz(data: &[u8]) {
    assert_eq!(requests(data, data.len()), requests(data, 1));
    assert_eq!(response(data, data.len()), response(data, 1));
}

/// What happens when `data` arrives in pieces of `step` bytes: a transcript to compare.
fn requests(data: &[u8], step: usize) -> Vec<String> {
    let mut seen = Vec::new();
    let mut buf = BytesMut::new();
    let mut rest = data;
    let mut parser = RequestParser::new(HeadRules { large_buffer: 512, ..HeadRules::default() });
    let mut body: Option<BodyDecoder> = None;
    let mut bytes = BytesMut::new();
    loop {
        let more = match &mut body {
            None => match parser.parse(&mut buf) {
                Ok(Some(head)) => {
                    seen.push(format!("{head:?}"));
                    body = Some(BodyDecoder::new(head.body, ChunkRules::REQUEST));
                    false
                }
                Ok(None) => true,
                Err(refused) => {
                    // How much of the line was there depends on the feeding; the verdict and the fields do not.
                    seen.push(format!("{} {:?}", refused.error.status(), refused.head.fields));
                    return seen;
                }
            },
            Some(decoder) => match decoder.decode(&mut buf) {
                Ok(BodyPiece::Data(data)) => {
                    bytes.extend_from_slice(&data);
                    false
                }
                Ok(BodyPiece::End(trailers)) => {
                    seen.push(format!("{:?} {trailers:?}", bytes.split()));
                    body = None;
                    parser.reset(HeadRules { large_buffer: 512, ..HeadRules::default() });
                    false
                }
                Ok(BodyPiece::NeedMore) => true,
                Err(error) => {
                    seen.push(format!("{:?} {error:?}", bytes.split()));
                    return seen;
                }
            },
        };
        if more && !feed(&mut buf, &mut rest, step) {
            return seen;
        }
    }
}

fn response(data: &[u8], step: usize) -> Vec<String> {
    let mut seen = Vec::new();
    let mut buf = BytesMut::new();
    let mut rest = data;
    let mut parser = ResponseParser::new(1024);
    let head = loop {
        match parser.parse(&mut buf) {
            Ok(Some(head)) => break head,
            Ok(None) if feed(&mut buf, &mut rest, step) => {}
            Ok(None) => return seen,
            Err(error) => {
                seen.push(format!("{:?}", std::mem::discriminant(&error)));
                return seen;
            }
        }
    };
    seen.push(format!("{head:?}"));
    let mut decoder = BodyDecoder::new(head.body_length(false), ChunkRules::RESPONSE);
    let mut bytes = BytesMut::new();
    loop {
        match decoder.decode(&mut buf) {
            Ok(BodyPiece::Data(data)) => bytes.extend_from_slice(&data),
            Ok(BodyPiece::NeedMore) if feed(&mut buf, &mut rest, step) => {}
            Ok(BodyPiece::NeedMore) => {
                let end = decoder.close();
                seen.push(format!("{:?} {end:?}", bytes.split()));
                return seen;
            }
            end => {
                seen.push(format!("{:?} {end:?}", bytes.split()));
                return seen;
            }
        }
    }
}

/// Gives `step` bytes more; false if none are left.
fn feed(buf: &mut BytesMut, rest: &mut &[u8], step: usize) -> bool {
    if rest.is_empty() {
        return false;
    }
    let piece = Bytes::copy_from_slice(&rest[..step.clamp(1, rest.len())]);
    *rest = &rest[piece.len()..];
    buf.extend_from_slice(&piece);
    true
}
