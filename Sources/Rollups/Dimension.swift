/// What rollups can be grouped by.
package enum Dimension: Hashable, CaseIterable, Sendable {
    /// The organisation, the API, its version, and the route template.
    case org, api, version, route
    /// The request method, status, status class ("2xx") and outcome.
    case method, status, statusClass, outcome
    /// The region of the gateway.
    case region
    /// Who called: application, credential key id and plan.
    case application, key, plan
    /// From where and with what: country, user-agent family and platform.
    case country, userAgent, platform
    /// The upstream's address.
    case upstream
    /// The value of the record's first tag of a name.
    case tag(String)

    /// Every dimension that all records have, which is every one but tags.
    package static let allCases: [Dimension] = [
        .org, .api, .version, .route, .method, .status, .statusClass, .outcome, .region,
        .application, .key, .plan, .country, .userAgent, .platform, .upstream,
    ]

    /// What the names of tags begin with where dimensions are named.
    package static let tagPrefix = "tag."

    /// Longest name of a tag in bytes: a column is named after it, and those take 63.
    package static let tagNameMax = 59

    /// The name in rollup definitions, queries and SQL.
    package var name: String {
        switch self {
        case .org: "org"
        case .api: "api"
        case .version: "version"
        case .route: "route"
        case .method: "method"
        case .status: "status"
        case .statusClass: "status_class"
        case .outcome: "outcome"
        case .region: "region"
        case .application: "application"
        case .key: "key"
        case .plan: "plan"
        case .country: "country"
        case .userAgent: "user_agent"
        case .platform: "platform"
        case .upstream: "upstream"
        case .tag(let name): Self.tagPrefix + name
        }
    }

    /// The dimension of a name; nil for a name that is none.
    ///
    /// Names of tags are of letters, digits, `_`, `-` and `.`, so that they can stand in lists and
    /// filters.
    package init?(name: String) {
        if name.hasPrefix(Self.tagPrefix) {
            let tag = name.dropFirst(Self.tagPrefix.count)
            guard (1...Self.tagNameMax).contains(tag.utf8.count),
                tag.utf8.allSatisfy(Self.isTagByte)
            else { return nil }
            self = .tag(String(tag))
            return
        }
        guard let found = Dimension.allCases.first(where: { $0.name == name }) else { return nil }
        self = found
    }

    private static func isTagByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"),
            UInt8(ascii: "."):
            true
        default: false
        }
    }

    /// Whether values are numbers rather than text; true for `status` only.
    package var isInteger: Bool { self == .status }

    /// The name of the tag; nil for every other dimension.
    package var tagName: String? {
        if case .tag(let name) = self { name } else { nil }
    }

    /// Its place in an order that all processes share: as in `allCases`, tags behind.
    package var rank: Int {
        switch self {
        case .org: 0
        case .api: 1
        case .version: 2
        case .route: 3
        case .method: 4
        case .status: 5
        case .statusClass: 6
        case .outcome: 7
        case .region: 8
        case .application: 9
        case .key: 10
        case .plan: 11
        case .country: 12
        case .userAgent: 13
        case .platform: 14
        case .upstream: 15
        case .tag: 16
        }
    }

    /// About how many decimal digits the number of values has, for the choice among rollups: fixed,
    /// so that equal questions get equal plans everywhere.
    var weight: Int {
        switch self {
        case .org: 0
        case .version, .method, .statusClass, .region, .plan: 1
        case .api, .status, .outcome, .userAgent, .platform, .upstream: 2
        case .country: 3
        case .route, .application: 4
        case .tag: 5
        case .key: 6
        }
    }
}

/// The bucket length of a rollup table.
package enum Tier: String, CaseIterable, Comparable, Sendable {
    /// One minute.
    case minute = "1m"
    /// Fifteen minutes: every UTC offset in use is a multiple of it.
    case quarterHour = "15m"
    /// One hour of UTC, for zones that are whole hours off it.
    case hour = "1h"
    /// One UTC day.
    case day = "1d"

    /// The length in microseconds.
    package var microseconds: Int64 {
        switch self {
        case .minute: 60_000_000
        case .quarterHour: 900_000_000
        case .hour: 3_600_000_000
        case .day: 86_400_000_000
        }
    }

    /// The start of the bucket that holds a time, both in microseconds since the epoch.
    package func bucket(of time: Int64) -> Int64 {
        let length = microseconds
        let remainder = time % length
        let towardsZero = time - remainder
        guard remainder < 0 else { return towardsZero }
        let (floor, overflow) = towardsZero.subtractingReportingOverflow(length)
        return overflow ? towardsZero : floor
    }

    /// Orders tiers from fine to coarse.
    package static func < (left: Tier, right: Tier) -> Bool {
        left.microseconds < right.microseconds
    }
}
