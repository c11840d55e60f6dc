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
    ///
    /// - Parameters:
    ///   - name: The name.
    ///   - dimensions: The dimensions, in the order of the columns.
    ///   - tiers: The tiers, in any order; at least one.
    ///   - countsKeys: Whether rows carry a sketch of distinct keys.
    package init(name: String, dimensions: [Dimension], tiers: [Tier], countsKeys: Bool) {
        precondition(!tiers.isEmpty, "rollup without a tier")
        self.name = name
        self.dimensions = dimensions
        self.tiers = tiers.sorted()
        self.countsKeys = countsKeys
    }

    /// A rollup of a user's: the organisation comes first, as it does in keys, and distinct keys
    /// are counted where they are not told apart.
    ///
    /// - Parameters:
    ///   - name: The name.
    ///   - dimensions: The dimensions.
    ///   - tiers: The tiers; the usual ones if empty.
    package init(user name: String, dimensions: [Dimension], tiers: [Tier] = []) {
        let org = dimensions.filter { $0 == .org }
        self.init(
            name: name,
            dimensions: org + dimensions.filter { $0 != .org },
            tiers: tiers.isEmpty ? Self.usualTiers : tiers,
            countsKeys: !dimensions.contains(.key)
        )
    }

    /// The tiers of a definition that names none.
    package static let usualTiers: [Tier] = [.minute, .quarterHour, .day]

    /// Whether this is one of the rollups that every installation has.
    package var isBuiltIn: Bool { Self.builtIn.contains { $0.name == name } }

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

    /// Whole organisations: one row in a bucket.
    package static let total = RollupDefinition(
        name: "total",
        dimensions: [.org],
        tiers: [.minute, .quarterHour, .hour, .day],
        countsKeys: true
    )

    /// What is called of an API, in fewer rows than `api`.
    package static let route = RollupDefinition(
        name: "route",
        dimensions: [.org, .api, .route],
        tiers: [.minute, .quarterHour, .hour, .day],
        countsKeys: true
    )

    /// How an API answers, in fewer rows than `api`.
    package static let status = RollupDefinition(
        name: "status",
        dimensions: [.org, .api, .status, .outcome],
        tiers: [.minute, .quarterHour, .hour, .day],
        countsKeys: true
    )

    /// The rollups that every installation has, in the order in which folds write them.
    package static let builtIn = [
        api, consumer, upstream, clientGeo, clientAgent, summary, total, route, status,
    ]

    /// The built-in rollups from the smallest to the largest, as planners try them.
    package static let smallestFirst = sorted(builtIn)

    /// Rollups from the smallest to the largest; by what their dimensions can hold, so that equal
    /// questions get equal plans everywhere.
    package static func sorted(_ definitions: [RollupDefinition]) -> [RollupDefinition] {
        definitions.sorted { left, right in
            let (a, b) = (left.weight, right.weight)
            if a != b { return a < b }
            if left.dimensions.count != right.dimensions.count {
                return left.dimensions.count < right.dimensions.count
            }
            return left.name < right.name
        }
    }

    /// About how many digits the number of rows of a bucket has at most.
    private var weight: Int { dimensions.reduce(0) { $0 + $1.weight } }
}

extension RollupDefinition {
    /// A rollup as databases keep it; nil if it names what this version does not know.
    ///
    /// - Parameters:
    ///   - name: The name.
    ///   - dimensions: The names of the dimensions, with commas between them.
    ///   - tiers: The names of the tiers, with commas between them.
    ///   - countsKeys: Whether rows carry a sketch of distinct keys.
    package init?(stored name: String, dimensions: String, tiers: String, countsKeys: Bool) {
        let names = dimensions.split(separator: ",")
        let found = names.compactMap { Dimension(name: String($0)) }
        let kept = tiers.split(separator: ",").map { Tier(rawValue: String($0)) }
        guard found.count == names.count, !found.isEmpty, !kept.isEmpty, !kept.contains(nil) else {
            return nil
        }
        self.init(
            name: name,
            dimensions: found,
            tiers: kept.compactMap { $0 },
            countsKeys: countsKeys
        )
    }
}

extension Tier {
    /// Reads `1m=1431857100000000,15m=…`: times in microseconds since the epoch, by tier.
    package static func horizons(stored text: String) -> [Tier: Int64] {
        var horizons: [Tier: Int64] = [:]
        for part in text.split(separator: ",") {
            let halves = part.split(separator: "=")
            guard halves.count == 2, let tier = Tier(rawValue: String(halves[0])),
                let horizon = Int64(halves[1])
            else { continue }
            horizons[tier] = horizon
        }
        return horizons
    }
}

/// Why a definition of a rollup cannot be used.
package struct RollupProblem: Error, Equatable, CustomStringConvertible {
    /// Which part of the definition is wrong.
    package enum Part: Equatable, Sendable {
        /// The name.
        case name
        /// The dimension at an index.
        case dimension(Int)
        /// All dimensions together.
        case dimensions
        /// The tier at an index.
        case tier(Int)
    }

    /// Which part of the definition is wrong.
    package let part: Part
    /// What is wrong, and what to do.
    package let description: String

    /// A problem with a part.
    package init(_ part: Part, _ description: String) {
        self.part = part
        self.description = description
    }
}

extension RollupDefinition {
    /// Longest name in bytes; partitions are named after it with up to 14 more.
    package static let nameMax = 40

    /// Most dimensions of one rollup; an index takes 32 columns.
    package static let dimensionsMax = 16

    /// Reads a definition of a user's.
    ///
    /// - Parameters:
    ///   - name: The name.
    ///   - dimensions: The names of the dimensions.
    ///   - tiers: The names of the tiers; the usual ones if there are none.
    /// - Returns: The definition, or everything that is wrong with it.
    package static func read(
        user name: String,
        dimensions: [String],
        tiers: [String]
    ) -> (definition: RollupDefinition?, problems: [RollupProblem]) {
        var problems = nameProblems(name)
        var found: [Dimension] = []
        for (index, text) in dimensions.enumerated() {
            guard let dimension = Dimension(name: text) else {
                problems.append(
                    RollupProblem(
                        .dimension(index),
                        "\"\(text)\" is no dimension; take tag.NAME, or one of "
                            + Dimension.allCases.map(\.name).joined(separator: ", ")
                    )
                )
                continue
            }
            if found.contains(dimension) {
                problems.append(
                    RollupProblem(.dimension(index), "\"\(text)\" is named twice; name it once")
                )
            } else {
                found.append(dimension)
            }
        }
        if dimensions.isEmpty || found.count > dimensionsMax {
            problems.append(
                RollupProblem(.dimensions, "give 1 to \(dimensionsMax) dimensions")
            )
        }
        var kept: [Tier] = []
        for (index, text) in tiers.enumerated() {
            guard let tier = Tier(rawValue: text) else {
                problems.append(
                    RollupProblem(
                        .tier(index),
                        "\"\(text)\" is no tier; take some of "
                            + Tier.allCases.map(\.rawValue).joined(separator: ", ")
                    )
                )
                continue
            }
            if kept.contains(tier) {
                problems.append(
                    RollupProblem(.tier(index), "\"\(text)\" is named twice; name it once")
                )
            } else {
                kept.append(tier)
            }
        }
        guard problems.isEmpty else { return (nil, problems) }
        return (RollupDefinition(user: name, dimensions: found, tiers: kept), [])
    }

    private static func nameProblems(_ name: String) -> [RollupProblem] {
        var problems: [RollupProblem] = []
        let bytes = Array(name.utf8)
        let isLetter = { (byte: UInt8) in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
        }
        let isFit = bytes.allSatisfy { byte in
            isLetter(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
        }
        if bytes.isEmpty || !isFit || !isLetter(bytes[0]) {
            problems.append(
                RollupProblem(
                    .name,
                    "\"\(name)\" is no name of a rollup; take a small letter, then small letters, "
                        + "digits, - and _, as in by-tag"
                )
            )
        }
        if bytes.count > nameMax {
            problems.append(
                RollupProblem(
                    .name,
                    "\"\(name)\" is longer than \(nameMax) bytes; tables are named after it, "
                        + "shorten it"
                )
            )
        }
        if builtIn.contains(where: { $0.name == name }) {
            problems.append(
                RollupProblem(.name, "\"\(name)\" is a built-in rollup; choose another name")
            )
        }
        if name == "records" {
            problems.append(
                RollupProblem(.name, "\"records\" means raw records; choose another name")
            )
        }
        return problems
    }
}
