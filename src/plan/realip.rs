//! Who may say who the client is? (`set_real_ip_from`, `real_ip_header`, `real_ip_recursive`; ngx_http_realip_module.)

use super::access::Whom;

/// What holds on one level where `set_real_ip_from` stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealIp {
    /// `set_real_ip_from`: whose word counts.
    pub from: Box<[Whom]>,
    /// `real_ip_header`. Default `X-Real-IP`.
    pub header: RealIpHeader,
    /// `real_ip_recursive`. Default off.
    pub recursive: bool,
}

/// Where the address stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RealIpHeader {
    /// `X-Forwarded-For`: all fields of that name, the last address first.
    ForwardedFor,
    /// The first field of this name, lower case.
    Field(Box<str>),
    /// `proxy_protocol`: what the PROXY header said, with its port.
    ProxyProtocol,
}
