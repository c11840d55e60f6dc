package import Postgres
package import Rollups

/// What folds have to agree on before they write: the generation, the rollups that there are, and
/// what is too old for which tier. The database's word on it is the only one.
package struct RollupCatalog: Equatable, Sendable {
    /// The generation that is written to.
    package private(set) var generation: Int
    /// Counts changes of the definitions.
    let definitionsVersion: Int64
    /// Counts moves of the horizons.
    let horizonsVersion: Int64
    /// The rollups: the built-in ones in the order in which folds write them, then those of users.
    package let definitions: [RollupDefinition]
    /// Before when buckets have been dropped, by rollup and tier, µs since the epoch; tiers that
    /// are not here keep everything.
    let horizons: [String: [Tier: Int64]]

    /// Nothing that could be written to.
    static let none = RollupCatalog(
        generation: 0,
        definitionsVersion: 0,
        horizonsVersion: 0,
        definitions: [],
        horizons: [:]
    )

    private init(
        generation: Int,
        definitionsVersion: Int64,
        horizonsVersion: Int64,
        definitions: [RollupDefinition],
        horizons: [String: [Tier: Int64]]
    ) {
        self.generation = generation
        self.definitionsVersion = definitionsVersion
        self.horizonsVersion = horizonsVersion
        self.definitions = definitions
        self.horizons = horizons
    }

    /// The same for another generation, as for one that is being built.
    func of(generation: Int) -> RollupCatalog {
        var copy = self
        copy.generation = generation
        return copy
    }

    /// Whether the tables of the rollups are those of another catalog.
    func hasTables(of other: RollupCatalog) -> Bool {
        generation == other.generation && definitionsVersion == other.definitionsVersion
    }

    /// Before when nothing is counted in a rollup: where even its longest kept tier was dropped.
    func horizon(of definition: RollupDefinition) -> Int64 {
        definition.tiers.map { horizon(of: definition, $0) }.min() ?? .min
    }

    /// Before when the buckets of a tier were dropped.
    func horizon(of definition: RollupDefinition, _ tier: Tier) -> Int64 {
        horizons[definition.name]?[tier] ?? .min
    }

    /// The tables of all rollups.
    var tables: [RollupTable] {
        definitions.map { definition in
            RollupTable(
                definition: definition,
                generation: generation,
                horizons: horizons[definition.name] ?? [:]
            )
        }
    }

    /// An empty output of folds for it.
    package func makeOutput() -> FoldOutput {
        FoldOutput(definitions, horizons: definitions.map(horizon))
    }
}

extension RollupCatalog {
    /// Reads the catalog of the active generation; within a transaction of one snapshot, or its
    /// parts may not belong together, which the next fold finds out.
    package init(_ connection: PostgresConnection) throws(PostgresError) {
        let found = try connection.query(Self.statement)
        guard found.rowCount > 0, let generation = found.int(0, 0) else {
            throw PostgresError(
                sqlState: "55000",
                call: "RollupCatalog",
                message: "no generation is active"
            )
        }
        var known: [String: RollupDefinition] = [:]
        var horizons: [String: [Tier: Int64]] = [:]
        for row in 0..<found.rowCount {
            guard let name = found.text(row, 3) else { continue }
            guard
                let definition = RollupDefinition(
                    stored: name,
                    dimensions: found.text(row, 4) ?? "",
                    tiers: found.text(row, 5) ?? "",
                    countsKeys: found.bool(row, 6) ?? true
                )
            else {
                throw PostgresError(
                    sqlState: "55000",
                    call: "RollupCatalog",
                    message: "rollup \(name) has a dimension or tier that this version does not "
                        + "know; use the newer sluice"
                )
            }
            known[name] = definition
            horizons[name] = Tier.horizons(stored: found.text(row, 7) ?? "")
        }
        let builtIn = RollupDefinition.builtIn.filter { known[$0.name] != nil }
        let users = known.values.filter { !$0.isBuiltIn }.sorted { $0.name < $1.name }
        self.init(
            generation: Int(generation),
            definitionsVersion: found.int(0, 1) ?? 0,
            horizonsVersion: found.int(0, 2) ?? 0,
            definitions: builtIn + users,
            horizons: horizons.filter { !$0.value.isEmpty }
        )
    }

    private static let statement = """
        SELECT g.id, g.definitions, g.horizons, r.name, array_to_string(r.dimensions, ','),
            array_to_string(r.tiers, ','), r.counts_keys,
            (SELECT string_agg(
                t.tier || '=' || (extract(epoch FROM t.horizon) * 1000000)::bigint, ',')
             FROM sluice.rollup_tier t WHERE t.rollup = r.name AND isfinite(t.horizon))
        FROM sluice.generation g CROSS JOIN sluice.rollup r
        WHERE g.state = 'active'
        """
}
