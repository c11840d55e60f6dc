package import Postgres
package import Rollups

/// A rollup that a configuration asks for.
package struct RollupWish: Equatable, Sendable {
    /// What it groups by, and its tiers.
    package let definition: RollupDefinition
    /// How long its tiers are kept, where that differs from the others.
    package let retain: [Tier: Duration]

    /// Asks for a rollup.
    package init(_ definition: RollupDefinition, retain: [Tier: Duration] = [:]) {
        self.definition = definition
        self.retain = retain
    }
}

/// A rollup as the database has it.
package struct RegisteredRollup: Equatable, Sendable {
    /// What it groups by, and its tiers.
    package let definition: RollupDefinition
    /// Whether it comes with Sluice.
    package let isBuiltIn: Bool
    /// Since when every record is counted in it, µs since the epoch; nil for always.
    package let completeSince: Int64?
    /// How long its tiers are kept; tiers that are not here are kept for ever.
    package let retain: [Tier: Duration]
    /// Before when tiers were dropped, µs since the epoch.
    package let horizons: [Tier: Int64]
}

/// Why the definitions of rollups were not changed.
package enum RollupRegistryError: Error, Equatable, CustomStringConvertible {
    /// PostgreSQL or the connection refused.
    case database(String)
    /// Another definition has the name.
    case conflict(name: String, stored: String, wanted: String)
    /// There is none of that name.
    case unknown(String)
    /// It comes with Sluice.
    case builtIn(String)
    /// Somebody reads it, or folds take too long.
    case busy(String)

    package var description: String {
        switch self {
        case .database(let text): text
        case .conflict(let name, let stored, let wanted):
            """
            rollup \(name) is \(stored) in the database, not \(wanted); choose another name, or \
            drop it first with `sluice rollup drop \(name)`, which forgets what it has counted
            """
        case .unknown(let name): "there is no rollup \(name); `sluice rollup ls` lists them"
        case .builtIn(let name): "rollup \(name) comes with Sluice and cannot be dropped"
        case .busy(let name): "rollup \(name) is being read or written; try again in a moment"
        }
    }
}

/// The definitions of rollups in the database, which alone decides what folds, compactor and query
/// API work with (`docs/decisions/0051-rollup-definitions.md`). Every call blocks.
package struct RollupRegistry {
    private let connection: PostgresConnection

    /// The advisory lock of whoever changes definitions; an arbitrary number ("rollup" in ASCII).
    private static let lock: Int64 = 0x72_6F6C_6C75_70

    /// How long folds and questions may be made to wait for a drop; chosen.
    private static let dropTimeout = "5s"

    /// The registry of a migrated database.
    package init(_ connection: PostgresConnection) { self.connection = connection }

    /// Adds what a configuration asks for and is not there, and says how long tiers are kept; what
    /// is there besides stays.
    ///
    /// - Parameters:
    ///   - wishes: The rollups of the configuration.
    ///   - retain: How long tiers of all rollups are kept; for ever if they are not here.
    /// - Returns: The names of those that were added.
    /// - Throws: When one is there with another definition; then nothing was changed.
    @discardableResult
    package func register(
        _ wishes: [RollupWish],
        retain: [Tier: Duration]
    ) throws(RollupRegistryError) -> [String] {
        try transaction { () throws(RollupRegistryError) in
            let stored = try read()
            var added: [String] = []
            for wish in wishes {
                let name = wish.definition.name
                if let known = stored.first(where: { $0.definition.name == name }) {
                    guard known.definition == wish.definition else {
                        throw .conflict(
                            name: name,
                            stored: Self.text(known.definition),
                            wanted: Self.text(wish.definition)
                        )
                    }
                } else {
                    try insert(wish.definition)
                    added.append(name)
                }
            }
            for rollup in try read() {
                let own = wishes.first { $0.definition.name == rollup.definition.name }?.retain
                try keep(rollup, retain.merging(own ?? [:]) { $1 })
            }
            return added
        }
    }

    /// Adds a rollup.
    ///
    /// - Throws: When one of that name is there, unless it is the same.
    package func add(_ definition: RollupDefinition) throws(RollupRegistryError) -> Bool {
        try transaction { () throws(RollupRegistryError) in
            let name = definition.name
            guard let known = try read().first(where: { $0.definition.name == name }) else {
                try insert(definition)
                return true
            }
            guard known.definition == definition else {
                throw .conflict(
                    name: name,
                    stored: Self.text(known.definition),
                    wanted: Self.text(definition)
                )
            }
            return false
        }
    }

    /// Drops a rollup and everything that it has counted.
    package func drop(_ name: String) throws(RollupRegistryError) {
        try transaction { () throws(RollupRegistryError) in
            guard let known = try read().first(where: { $0.definition.name == name }) else {
                throw .unknown(name)
            }
            guard !known.isBuiltIn else { throw .builtIn(name) }
            do throws(PostgresError) {
                try connection.execute("SET LOCAL lock_timeout = '\(Self.dropTimeout)'")
                try connection.query("SELECT sluice.drop_rollup($1)", [.text(name)])
            } catch {
                throw error.sqlState == "55P03" ? .busy(name) : .database("\(error)")
            }
        }
    }

    /// All rollups: the built-in ones first, then by name.
    package func list() throws(RollupRegistryError) -> [RegisteredRollup] { try read() }

    // MARK: Statements

    private func transaction<T>(
        _ body: () throws(RollupRegistryError) -> T
    ) throws(RollupRegistryError) -> T {
        try connection.transaction(mapping: { .database("\($0)") }) {
            () throws(RollupRegistryError) in
            try sql { () throws(PostgresError) in
                try connection.query("SELECT pg_advisory_xact_lock($1)", [.int(Self.lock)])
            }
            return try body()
        }
    }

    @discardableResult
    private func sql<T>(_ body: () throws(PostgresError) -> T) throws(RollupRegistryError) -> T {
        do throws(PostgresError) { return try body() } catch { throw .database("\(error)") }
    }

    private func insert(_ definition: RollupDefinition) throws(RollupRegistryError) {
        try sql { () throws(PostgresError) in
            try connection.query(
                "SELECT sluice.add_rollup($1, $2::text[], $3::text[], $4)",
                [
                    .text(definition.name), .textArray(definition.dimensions.map(\.name)),
                    .textArray(definition.tiers.map(\.rawValue)), .bool(definition.countsKeys),
                ]
            )
        }
    }

    /// Says how long the tiers of a rollup are kept. What a coarser tier has lost, no finer one
    /// keeps.
    private func keep(
        _ rollup: RegisteredRollup,
        _ retain: [Tier: Duration]
    ) throws(RollupRegistryError) {
        var wanted: [Tier: Duration] = [:]
        var longest: Duration?
        for tier in rollup.definition.tiers.reversed() {
            if let own = retain[tier] { longest = longest.map { min($0, own) } ?? own }
            wanted[tier] = longest
        }
        guard wanted != rollup.retain else { return }
        let tiers = rollup.definition.tiers
        try sql { () throws(PostgresError) in
            try connection.query(
                """
                UPDATE sluice.rollup_tier t SET retain = n.retain::int8 * interval '1 microsecond'
                FROM unnest($2::text[], $3::text[]) AS n (tier, retain)
                WHERE t.rollup = $1 AND t.tier = n.tier
                """,
                [
                    .text(rollup.definition.name), .textArray(tiers.map(\.rawValue)),
                    .textArray(tiers.map { wanted[$0].map { "\($0.microseconds)" } }),
                ]
            )
        }
    }

    private func read() throws(RollupRegistryError) -> [RegisteredRollup] {
        let found = try sql { () throws(PostgresError) in
            try connection.query(
                """
                SELECT r.name, array_to_string(r.dimensions, ','), array_to_string(r.tiers, ','),
                    r.counts_keys, r.is_built_in, r.complete_since,
                    (SELECT string_agg(tier || '='
                        || (extract(epoch FROM retain) * 1000000)::bigint, ',')
                     FROM sluice.rollup_tier WHERE rollup = r.name AND retain IS NOT NULL),
                    (SELECT string_agg(tier || '='
                        || (extract(epoch FROM horizon) * 1000000)::bigint, ',')
                     FROM sluice.rollup_tier WHERE rollup = r.name AND isfinite(horizon))
                FROM sluice.rollup r ORDER BY NOT r.is_built_in, r.name COLLATE "C"
                """
            )
        }
        return (0..<found.rowCount).compactMap { row in
            guard
                let definition = RollupDefinition(
                    stored: found.text(row, 0) ?? "",
                    dimensions: found.text(row, 1) ?? "",
                    tiers: found.text(row, 2) ?? "",
                    countsKeys: found.bool(row, 3) ?? true
                )
            else { return nil }
            return RegisteredRollup(
                definition: definition,
                isBuiltIn: found.bool(row, 4) ?? false,
                completeSince: found.timestamp(row, 5),
                retain: Tier.horizons(stored: found.text(row, 6) ?? "")
                    .mapValues { .microseconds($0) },
                horizons: Tier.horizons(stored: found.text(row, 7) ?? "")
            )
        }
    }

    /// A definition in words.
    private static func text(_ definition: RollupDefinition) -> String {
        "[\(definition.dimensions.map(\.name).joined(separator: ", "))] in "
            + definition.tiers.map(\.rawValue).joined(separator: ", ")
    }
}
