//! Where does a body end, and what of the bytes read belongs to it? The same for requests and responses.

use bytes::{Bytes, BytesMut};

use super::chunked::{ChunkRules, Chunked};
use crate::words::Fields;

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// So many bytes; 0 is no body.
    Length(u64),
    /// Chunked.
    Chunked,
    /// Until the peer closes: responses only.
    UntilClose,
}

/// Why a body is broken. The connection cannot be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not a chunk where one should begin or end.
    #[error("sent invalid chunked body")]
    InvalidChunk,
    /// More extension bytes than anyone needs.
    #[error("sent too long chunk extensions")]
    ExtensionsTooLong,
    /// Trailers that are no fields.
    #[error("sent invalid trailers")]
    InvalidTrailers,
    /// More trailers than allowed.
    #[error("sent too long trailers")]
    TrailersTooLong,
    /// The peer closed before the end.
    #[error("prematurely closed connection")]
    CutShort,
}

/// A part of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyPiece {
    /// The bytes given hold no more of it.
    NeedMore,
    /// Some bytes, at least one.
    Data(Bytes),
    /// It is whole. Trailers are there only if the peer sent some.
    End(Option<Box<Fields>>),
}

/// Takes one body out of the bytes read.
#[derive(Debug)]
pub struct BodyDecoder(Frame);

#[derive(Debug)]
enum Frame {
    Counted(u64),
    Chunked(Box<Chunked>),
    UntilClose,
    Done,
}

impl BodyDecoder {
    /// A decoder for a body framed by `length`; `rules` are asked if it is chunked.
    pub fn new(length: BodyLength, rules: ChunkRules) -> BodyDecoder {
        BodyDecoder(match length {
            BodyLength::Length(0) => Frame::Done,
            BodyLength::Length(length) => Frame::Counted(length),
            BodyLength::Chunked => Frame::Chunked(Box::new(Chunked::new(rules))),
            BodyLength::UntilClose => Frame::UntilClose,
        })
    }

    /// The next piece out of `buf`; bytes behind the body's end stay in it. After the end: [`BodyPiece::End`] again.
    ///
    /// # Errors
    /// The chunk framing is broken or too long.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<BodyPiece, BodyError> {
        match &mut self.0 {
            Frame::Done => Ok(BodyPiece::End(None)),
            _ if buf.is_empty() => Ok(BodyPiece::NeedMore),
            Frame::UntilClose => Ok(BodyPiece::Data(buf.split().freeze())),
            Frame::Counted(rest) => {
                let take = usize::try_from(*rest).unwrap_or(usize::MAX).min(buf.len());
                *rest -= take as u64;
                if *rest == 0 {
                    self.0 = Frame::Done;
                }
                Ok(BodyPiece::Data(buf.split_to(take).freeze()))
            }
            Frame::Chunked(chunked) => {
                let piece = chunked.decode(buf)?;
                if matches!(piece, BodyPiece::End(_)) {
                    self.0 = Frame::Done;
                }
                Ok(piece)
            }
        }
    }

    /// The peer closed its side: fine if that ends the body or the body had ended.
    ///
    /// # Errors
    /// [`BodyError::CutShort`] if more should have come.
    pub fn close(&mut self) -> Result<(), BodyError> {
        match self.0 {
            Frame::Done | Frame::UntilClose => {
                self.0 = Frame::Done;
                Ok(())
            }
            Frame::Counted(_) | Frame::Chunked(_) => Err(BodyError::CutShort),
        }
    }

    /// Whether the whole body, trailers included, has been taken. Of a counted body this is known with its last byte,
    /// of a chunked one when [`BodyPiece::End`] has been given.
    pub fn is_done(&self) -> bool {
        matches!(self.0, Frame::Done)
    }

    /// Bytes still to come, if they were counted.
    pub fn remaining(&self) -> Option<u64> {
        match self.0 {
            Frame::Done => Some(0),
            Frame::Counted(rest) => Some(rest),
            Frame::Chunked(_) | Frame::UntilClose => None,
        }
    }
}
