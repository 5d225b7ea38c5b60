//! Reading a request's body within a size and a time.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;

use crate::problem::{Problem, kinds};

/// Reads a body of at most `limit` bytes that arrives within `time`.
///
/// # Errors
/// A [`Problem`]: 413 above the limit (at once where `Content-Length` admits it), 408 when it comes too slowly, 400 when
/// it breaks off.
pub async fn read(headers: &HeaderMap, body: Body, limit: usize, time: Duration) -> Result<Bytes, Problem> {
    read_reserving(headers, body, limit, time, |_more| Ok(())).await
}

/// [`read`], asking `reserve` for room for each piece before it is kept, so that the memory of all bodies together has a
/// bound: what a client only announces takes none.
///
/// # Errors
/// Those of [`read`], and what `reserve` says.
pub async fn read_reserving(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    time: Duration,
    reserve: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Bytes, Problem> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    tokio::time::timeout(time, collect(body, limit, reserve)).await.unwrap_or_else(|_| {
        Err(Problem::new(kinds::BODY_TIMEOUT, format!("the body did not arrive within {} ms", time.as_millis())))
    })
}

/// The problem of a body above `limit` bytes.
pub fn too_large(limit: usize) -> Problem {
    Problem::new(kinds::TOO_LARGE, format!("the body must be at most {limit} bytes long"))
}

async fn collect(
    mut body: Body,
    limit: usize,
    mut reserve: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame
            .map_err(|error| Problem::new(kinds::BROKEN_BODY, format!("the body broke off: {}", root_cause(&error))))?;
        let Ok(data) = frame.into_data() else {
            continue; // trailers
        };
        let so_far = first.len() + rest.as_ref().map_or(0, BytesMut::len);
        if so_far + data.len() > limit {
            return Err(too_large(limit));
        }
        reserve(data.len())?;
        // Most bodies are one frame, which needs no copy.
        if so_far == 0 {
            first = data;
        } else {
            rest.get_or_insert_with(|| BytesMut::from(std::mem::take(&mut first))).extend_from_slice(&data);
        }
    }
    Ok(rest.map_or(first, BytesMut::freeze))
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use futures::stream;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn in_frames(frames: &[&'static str]) -> Body {
        let frames: Vec<std::io::Result<Bytes>> =
            frames.iter().map(|frame| Ok(Bytes::from_static(frame.as_bytes()))).collect();
        Body::from_stream(stream::iter(frames))
    }

    #[tokio::test]
    async fn a_body_is_read_whole_up_to_its_limit_in_however_many_frames() {
        let read = |frames: &[&'static str], limit| {
            let body = in_frames(frames);
            async move { read(&HeaderMap::new(), body, limit, SECOND).await }
        };
        assert_eq!(read(&["abc", "def", "g"], 7).await.unwrap(), "abcdefg");
        assert_eq!(read(&["abcdefg"], 7).await.unwrap(), "abcdefg");
        assert_eq!(read(&[], 7).await.unwrap(), "");
        let error = read(&["abc", "def", "g"], 6).await.unwrap_err();
        assert_eq!(error.kind(), kinds::TOO_LARGE);
    }

    #[tokio::test]
    async fn an_announced_length_above_the_limit_is_refused_before_anything_is_read() {
        let headers = HeaderMap::from_iter([(header::CONTENT_LENGTH, HeaderValue::from_static("8"))]);
        let never = Body::from_stream(stream::pending::<std::io::Result<Bytes>>());
        let error = read(&headers, never, 7, SECOND).await.unwrap_err();
        assert_eq!(error.kind(), kinds::TOO_LARGE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_ends_is_given_up() {
        let never = Body::from_stream(stream::pending::<std::io::Result<Bytes>>());
        let error = read(&HeaderMap::new(), never, 7, SECOND).await.unwrap_err();
        assert_eq!(error.kind(), kinds::BODY_TIMEOUT);
    }
}
