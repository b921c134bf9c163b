//! Answers as HTTP has them.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;

use crate::body::{self, ResponseBody};
use crate::discovery;
use crate::status::Failure;

pub(super) fn content_type(response: &mut Response<ResponseBody>, value: &'static str) {
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
}

pub(super) fn json_answer(code: StatusCode, value: &Value) -> Response<ResponseBody> {
    bytes_answer(code, value.to_string().into())
}

pub(super) fn bytes_answer(code: StatusCode, bytes: Bytes) -> Response<ResponseBody> {
    let mut response = Response::new(body::full(bytes));
    *response.status_mut() = code;
    content_type(&mut response, "application/json");
    response
}

pub(super) fn aggregated_answer(document: &Value) -> Response<ResponseBody> {
    let mut response = Response::new(body::document(document));
    content_type(&mut response, discovery::AGGREGATED);
    response
}

pub(super) fn refusal(failure: &Failure) -> Response<ResponseBody> {
    let code = StatusCode::from_u16(failure.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_answer(code, &failure.to_json());
    if failure.is_plain() {
        *response.body_mut() = body::full(format!("{}\n", failure.message()));
        content_type(&mut response, "text/plain; charset=utf-8");
    }
    if let Some(seconds) = failure.retry_after_seconds() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
