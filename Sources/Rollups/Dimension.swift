/// What rollups can be grouped by.
package enum Dimension: UInt8, CaseIterable, Sendable, BitwiseCopyable {
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
        }
    }

    /// The dimension of a name; nil for a name that is none.
    package init?(name: String) {
        guard let found = Dimension.allCases.first(where: { $0.name == name }) else { return nil }
        self = found
    }

    /// Whether values are numbers rather than text; true for `status` only.
    package var isInteger: Bool { self == .status }
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

/// A named list of dimensions, and the tiers that are kept of it.
package struct RollupDefinition: Hashable, Sendable {
    /// The name, which is also the prefix of the tables.
    package let name: String
    /// The dimensions, in the order of the columns.
    package let dimensions: [Dimension]
    /// The tiers from fine to coarse; folds write the first.
    package let tiers: [Tier]
    /// Whether rows carry a sketch of distinct keys; pointless where `key` is a dimension.
    package let countsKeys: Bool

    /// Defines a rollup.
    package init(name: String, dimensions: [Dimension], tiers: [Tier], countsKeys: Bool) {
        precondition(!tiers.isEmpty, "rollup without a tier")
        self.name = name
        self.dimensions = dimensions
        self.tiers = tiers.sorted()
        self.countsKeys = countsKeys
    }

    /// The tier that folds write.
    package var finestTier: Tier { tiers[0] }

    /// Everything about an API, without who called.
    package static let api = RollupDefinition(
        name: "api",
        dimensions: [.org, .api, .version, .route, .method, .status, .outcome, .region],
        tiers: [.minute, .quarterHour, .day],
        countsKeys: true
    )

    /// Who called what.
    package static let consumer = RollupDefinition(
        name: "consumer",
        dimensions: [.org, .api, .version, .route, .application, .key, .plan, .statusClass],
        tiers: [.quarterHour, .day],
        countsKeys: false
    )

    /// Which upstream answered how.
    package static let upstream = RollupDefinition(
        name: "upstream",
        dimensions: [.org, .api, .upstream, .outcome],
        tiers: [.minute, .quarterHour, .day],
        countsKeys: true
    )

    /// From where clients call.
    package static let clientGeo = RollupDefinition(
        name: "client_geo",
        dimensions: [.org, .api, .country, .platform],
        tiers: [.quarterHour, .day],
        countsKeys: true
    )

    /// What clients call with.
    package static let clientAgent = RollupDefinition(
        name: "client_agent",
        dimensions: [.org, .api, .userAgent],
        tiers: [.quarterHour, .day],
        countsKeys: true
    )

    /// Whole APIs: what dashboards ask most, in the fewest rows.
    package static let summary = RollupDefinition(
        name: "summary",
        dimensions: [.org, .api],
        tiers: [.minute, .quarterHour, .hour, .day],
        countsKeys: true
    )

    /// The rollups that every installation has, in the order in which folds write them.
    package static let builtIn = [api, consumer, upstream, clientGeo, clientAgent, summary]

    /// The built-in rollups from the smallest to the largest, as planners try them; chosen by
    /// what their dimensions can hold, so that equal questions get equal plans everywhere.
    package static let smallestFirst = [
        summary, clientAgent, upstream, clientGeo, api, consumer,
    ]
}
