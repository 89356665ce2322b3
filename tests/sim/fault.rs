//! What can go wrong? Every kind of fault, where an authority's faults strike, and what a client is told then.

use semper::cert::failure::Failure;
use semper::clock::UnixTime;
use std::time::Duration;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    // An authority, whatever is asked of it.
    Down,
    Drips,
    NoNonce,
    BadNonceOnce,
    BadNonceThrice,
    BadNonceAlways,
    Busy503,
    Reset,
    BadJson,
    HugeBody,
    Redirects,
    // An authority, at one step of an order.
    Directory500,
    DirectoryMoved,
    AccountUnknown,
    AccountRefused,
    Limited,
    LimitedForAYear,
    RefusesReplaces,
    Caa,
    RejectsAName,
    OffersOneKind,
    TokenWithPath,
    ForgetsOrders,
    AuthorizationStuck,
    AuthorizationExpires,
    Challenge500,
    CannotSee,
    OrderStuckPending,
    NewOrderAnswerLost,
    Finalize500,
    FinalizeAnswerLost,
    StuckProcessing,
    Certificate500,
    CertificateHtml,
    CertificateTruncated,
    CertificateWrongKey,
    CertificateWrongNames,
    CertificateExpired,
    // What an authority says about renewal.
    AriMoved,
    AriPast,
    AriMalformed,
    AriBeyondExpiry,
    AriYear,
    AriSilent,
    // The way to a name.
    DnsWrong,
    DnsStaleAaaa,
    MovedAway,
    Port80Closed,
    Port443Closed,
    // This node.
    Crash,
    PowerLoss,
    DiskFull,
    DiskReadOnly,
    BitRotBundle,
    BitRotJournal,
    BitRotOrder,
    ClockDrift,
    ClockForward,
    ClockBack,
    ClockYearsForward,
    ClockYearsBack,
    // People.
    NameJoins,
    NameLeaves,
    IssuerChanges,
    OperatorRenews,
    // What was issued.
    Revoked,
}

use Fault::*;

/// What may be wrong with an authority for a while.
pub const OF_AUTHORITY: &[Fault] = &[
    Down,
    Drips,
    NoNonce,
    BadNonceOnce,
    BadNonceThrice,
    BadNonceAlways,
    Busy503,
    Reset,
    BadJson,
    HugeBody,
    Redirects,
    Directory500,
    DirectoryMoved,
    AccountUnknown,
    AccountRefused,
    Limited,
    LimitedForAYear,
    RefusesReplaces,
    Caa,
    RejectsAName,
    OffersOneKind,
    TokenWithPath,
    ForgetsOrders,
    AuthorizationStuck,
    AuthorizationExpires,
    Challenge500,
    CannotSee,
    OrderStuckPending,
    NewOrderAnswerLost,
    Finalize500,
    FinalizeAnswerLost,
    StuckProcessing,
    Certificate500,
    CertificateHtml,
    CertificateTruncated,
    CertificateWrongKey,
    CertificateWrongNames,
    CertificateExpired,
];
/// What it may say about renewal.
pub const OF_ARI: &[Fault] = &[AriMoved, AriPast, AriMalformed, AriBeyondExpiry, AriYear, AriSilent];
/// What may be wrong with the way to names.
pub const OF_NAMES: &[Fault] = &[DnsWrong, DnsStaleAaaa, MovedAway, Port80Closed, Port443Closed];
/// What may be wrong with the disk.
pub const OF_DISK: &[Fault] = &[DiskFull, DiskReadOnly, BitRotBundle, BitRotJournal, BitRotOrder];
/// What may be wrong with the clock for a while.
pub const OF_CLOCK: &[Fault] = &[ClockDrift, ClockForward, ClockBack];
/// The clock lies by years.
pub const OF_CLOCK_YEARS: &[Fault] = &[ClockYearsForward, ClockYearsBack];
/// What people do.
pub const OF_PEOPLE: &[Fault] = &[NameJoins, NameLeaves, IssuerChanges, OperatorRenews];

/// A step of an order, as an authority sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Enter,
    Place,
    Look,
    Authorize,
    Finalize,
    Fetch,
}

impl Fault {
    /// What a request of this phase is answered with while the fault lasts; `None`: the fault does not strike here.
    pub fn answers(self, phase: Phase, now: UnixTime) -> Option<Failure> {
        let detail = || format!("simulated: {self:?}");
        let unreachable = || Some(Failure::Unreachable { detail: detail() });
        let limited = |secs| Some(Failure::Limited { until: Some(now + Duration::from_secs(secs)), detail: detail() });
        match (self, phase) {
            (Down | NoNonce | BadNonceAlways | Drips | Reset | HugeBody | Redirects, _) => unreachable(),
            (Busy503, _) => limited(600),
            (BadJson, Phase::Enter | Phase::Place) => Some(Failure::Lost { detail: detail() }),
            (BadJson, _) => unreachable(),
            (Directory500, Phase::Enter) => unreachable(),
            (AccountRefused, Phase::Enter) => Some(Failure::Account { detail: detail() }),
            (Limited, Phase::Place) => limited(3600),
            (LimitedForAYear, Phase::Place) => limited(365 * 86_400),
            (Caa, Phase::Place) => Some(Failure::Refused { names: vec![], detail: detail() }),
            (TokenWithPath, Phase::Authorize) => Some(Failure::Lost { detail: detail() }),
            (Challenge500, Phase::Authorize) | (Finalize500, Phase::Finalize) => unreachable(),
            (Certificate500, Phase::Fetch) => unreachable(),
            (ForgetsOrders, Phase::Look | Phase::Authorize | Phase::Finalize | Phase::Fetch) => {
                Some(Failure::Lost { detail: detail() })
            }
            _ => None,
        }
    }

    /// Whether the whole fault is one slow or repeated request.
    pub fn only_delays(self) -> bool {
        matches!(self, BadNonceOnce | BadNonceThrice)
    }
}
