import Postgres
import Rollups

/// The tables of one rollup in one generation, and their columns.
struct RollupTable: Sendable {
    let definition: RollupDefinition
    let generation: Int
    /// Before when the buckets of tiers were dropped; tiers that are not here keep everything.
    var horizons: [Tier: Int64] = [:]

    /// The key columns: bucket, then the dimensions.
    var keyColumns: [String] { ["bucket"] + definition.dimensions.map { Self.quoted($0.name) } }

    /// The measures, in the order of the SQL columns.
    var measureColumns: [String] {
        [
            "requests", "client_errors", "server_errors", "aborted", "bytes_in", "bytes_out",
            "latency_count", "latency_sum", "latency_min", "latency_max",
            "upstream_count", "upstream_sum", "upstream_min", "upstream_max",
            "latency_hist", "upstream_hist", "clients",
        ] + (definition.countsKeys ? ["keys"] : [])
    }

    /// All columns, in the order in which they are copied.
    var columns: [String] { keyColumns + measureColumns }

    /// All columns as a list for SQL.
    var columnList: String { columns.joined(separator: ", ") }

    /// The schema of the generation.
    var schema: String { "sluice_g\(generation)" }

    /// The table that folds insert into.
    var deltaTable: String { table("delta") }

    /// The partitioned table of a tier.
    func table(_ tier: Tier) -> String { table(tier.rawValue) }

    /// A partition of the table of a tier.
    func table(_ tier: Tier, _ partition: Partition) -> String {
        table("\(tier.rawValue)_\(partition.suffix)")
    }

    /// The name of a partition of the table of a tier, for SQL, without schema.
    func name(_ tier: Tier, _ partition: Partition) -> String {
        Self.quoted("\(definition.name)_\(tier.rawValue)_\(partition.suffix)")
    }

    /// A table of rows that do not count yet. No rollup's tables have such names: they end in a
    /// tier or a partition.
    func staged(_ suffix: String) -> String { "\(schema).staged_\(suffix)" }

    /// A new name for a sorted run of a tier, without schema. No rollup's tables have such names.
    func makeRunName(of tier: Tier) -> String {
        let number = UInt32.random(in: 0...UInt32.max)
        return Self.quoted("\(definition.name)_\(tier.rawValue)_\(Self.runMark)\(number)")
    }

    /// What such names have behind that of the tier, before a number.
    static let runMark = "run_x"

    private func table(_ suffix: String) -> String {
        "\(schema).\(Self.quoted("\(definition.name)_\(suffix)"))"
    }

    /// The names of its tables, deltas first, without schema and as they are, without quotes.
    var names: [String] {
        (["delta"] + definition.tiers.map(\.rawValue)).map { "\(definition.name)_\($0)" }
    }

    /// A name for SQL: in quotes if it has other characters than the built-in names.
    static func quoted(_ name: String) -> String {
        let isPlain = name.utf8.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                || byte == UInt8(ascii: "_")
        }
        return isPlain ? name : "\"" + name.replacing("\"", with: "\"\"") + "\""
    }

    /// The `COPY` that appends rows to a table.
    ///
    /// - Parameters:
    ///   - table: The table.
    ///   - isFrozen: Whether the transaction has made the table, and nobody else can see it.
    func copy(into table: String, isFrozen: Bool = false) -> String {
        let options = isFrozen ? "FORMAT binary, FREEZE" : "FORMAT binary"
        return "COPY \(table) (\(columnList)) FROM STDIN (\(options))"
    }
}

extension CopyWriter {
    /// Writes the integer measures, in the order of the SQL columns.
    @inline(__always)
    mutating func counts(_ counts: Counts) {
        let numbers = counts.numbers
        int64s(numbers.span)
    }
}
