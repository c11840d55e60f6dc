package import Records

/// Folds decoded records into rollup rows, in memory, until the caller writes them.
///
/// A pure function of the records folded: the rows and their encodings do not depend on order or
/// batching. Values of dimensions are interned per batch, so that the caller resolves each value
/// once, not per row; id 0 is "absent". Nothing is allocated per record or per row once warm.
package struct FoldBatch: Sendable {
    /// The rollups that are folded into.
    package let definitions: [RollupDefinition]
    /// The dimensions that any of them has; ids and values are by their places here.
    package let dimensions: [Dimension]
    /// The distinct values of each text dimension, by place.
    var values: [ValueTable]
    /// The rows of each rollup; none of those that are made of another one's.
    var tables: [RowTable]
    /// The rollup whose rows those of each are made of; nil where records are folded.
    private let sources: [Int?]
    /// The rollups that records are folded into.
    private let wide: [Int]
    /// Where the record being folded belongs in each of them.
    private var probes: [RowTable.Probe]
    /// Before when nothing is counted in each rollup, µs since the epoch.
    package let horizons: [Int64]
    /// Before when nothing is counted in any.
    private let horizonMin: Int64
    /// The dimensions that all records have, in their places.
    private let fields: [DimensionField]
    /// The names of the tags, whose places follow those of the fields.
    private let tags: [[UInt8]]
    /// The value of each dimension in the record being folded, by place.
    private var current: [UInt32]
    /// How many records were folded since the last `removeAll`.
    package private(set) var recordCount = 0

    /// Makes an empty batch for some rollups.
    ///
    /// - Parameters:
    ///   - definitions: The rollups.
    ///   - horizons: Before when nothing is counted in each of them, µs since the epoch: times that
    ///     every bucket boundary is at; none if empty.
    package init(
        _ definitions: [RollupDefinition] = RollupDefinition.builtIn,
        horizons: [Int64] = []
    ) {
        precondition(horizons.isEmpty || horizons.count == definitions.count, "one per rollup")
        self.definitions = definitions
        self.horizons = horizons.isEmpty ? definitions.map { _ in .min } : horizons
        horizonMin = horizons.min() ?? .min
        let dimensions = Set(definitions.flatMap(\.dimensions)).sorted {
            ($0.rank, $0.name) < ($1.rank, $1.name)
        }
        self.dimensions = dimensions
        values = dimensions.map { _ in ValueTable() }
        tables = definitions.map { definition in
            RowTable(
                definition,
                places: definition.dimensions.map { dimensions.firstIndex(of: $0) ?? 0 }
            )
        }
        let sources = Self.sources(definitions, self.horizons)
        self.sources = sources
        wide = sources.indices.filter { sources[$0] == nil }
        probes = wide.map { _ in RowTable.Probe() }
        fields = dimensions.compactMap(\.field)
        tags = dimensions.compactMap(\.tagName).map { Array($0.utf8) }
        current = [UInt32](repeating: 0, count: dimensions.count)
    }

    /// Which other rollup each can be made of: one that has all of its dimensions, times and
    /// sketches, and loses no more records. Records are folded into the wide ones only.
    private static func sources(
        _ definitions: [RollupDefinition],
        _ horizons: [Int64]
    ) -> [Int?] {
        var sources: [Int?] = definitions.map { _ in nil }
        // From the widest to the narrowest, so that none is made of what is made itself.
        let order = definitions.indices.sorted { left, right in
            let counts = (definitions[left].dimensions.count, definitions[right].dimensions.count)
            return counts.0 != counts.1 ? counts.0 > counts.1 : left < right
        }
        for (rank, index) in order.enumerated() {
            let definition = definitions[index]
            sources[index] = order[..<rank].last { candidate in
                let wide = definitions[candidate]
                return sources[candidate] == nil && horizons[candidate] == horizons[index]
                    && wide.finestTier <= definition.finestTier
                    && (wide.countsKeys || !definition.countsKeys)
                    && definition.dimensions.allSatisfy(wide.dimensions.contains)
            }
        }
        return sources
    }

    /// Folds one record, decoded from these bytes; false when its kind counts nothing.
    @discardableResult
    package mutating func fold(_ record: RecordView, _ bytes: RawSpan) -> Bool {
        guard record.kind == .request else { return false }
        let octets = bytes.octets
        for place in fields.indices {
            current[place] = valueID(of: fields[place], place, in: record, octets)
        }
        if !tags.isEmpty { readTags(record, bytes) }
        let sample = Sample(record, octets)
        for (place, index) in wide.enumerated() {
            probes[place] = tables[index].probe(sample.time, current)
        }
        for (place, index) in wide.enumerated() where sample.time >= horizons[index] {
            tables[index].add(sample, current, probes[place])
        }
        recordCount += 1
        return true
    }

    /// Whether a record is too old for every tier of every rollup.
    package func isExpired(_ record: RecordView) -> Bool { record.completedAt < horizonMin }

    /// Takes the values of the tags that are dimensions; the first of a name counts.
    private mutating func readTags(_ record: RecordView, _ bytes: RawSpan) {
        for place in fields.count..<current.count { current[place] = 0 }
        guard record.tagCount > 0 else { return }
        let octets = bytes.octets
        var found: [ByteRange?] = tags.map { _ in nil }
        let names = tags
        record.forEachTag(in: bytes) { key, value in
            for index in names.indices
            where found[index] == nil && Self.isSame(names[index], key, bytes) {
                found[index] = value
            }
        }
        for index in tags.indices {
            guard let range = found[index], !range.isEmpty else { continue }
            let place = fields.count + index
            current[place] = values[place].id(of: octets.extracting(range.range))
        }
    }

    /// Whether a range of some bytes holds a name.
    private static func isSame(_ name: [UInt8], _ range: ByteRange, _ bytes: RawSpan) -> Bool {
        let other = bytes.octets.extracting(range.range)
        return name.count == other.count && name.span.hasSameBytes(as: other)
    }

    /// The id of a record's value of a dimension; the number itself for integer dimensions.
    @inline(__always)
    private mutating func valueID(
        of field: DimensionField,
        _ place: Int,
        in record: RecordView,
        _ octets: Span<UInt8>
    ) -> UInt32 {
        switch field {
        case .status: return Sample.status(of: record)
        case .statusClass:
            let status = Sample.status(of: record)
            guard status > 0 else { return 0 }
            let text: [3 of UInt8] = [
                UInt8(ascii: "0") + UInt8(truncatingIfNeeded: status / 100), UInt8(ascii: "x"),
                UInt8(ascii: "x"),
            ]
            return values[place].id(of: text.span)
        case .outcome:
            guard record.outcome != .unspecified else { return 0 }
            return values[place].id(of: record.outcome.name.utf8.span)
        default:
            let range = record.range(of: field)
            guard !range.isEmpty else { return 0 }
            return values[place].id(of: octets.extracting(range.range))
        }
    }

    /// Forgets all rows and values and keeps the capacity.
    package mutating func removeAll() {
        for index in values.indices { values[index].removeAll() }
        for index in tables.indices { tables[index].removeAll() }
        recordCount = 0
    }

    /// Whether nothing was folded.
    package var isEmpty: Bool { recordCount == 0 }

    /// The memory in use, in bytes; what `removeAll` gives back to later records included.
    package var byteCount: Int {
        values.reduce(0) { $0 + $1.byteCount } + tables.reduce(0) { $0 + $1.byteCount }
    }

    /// How many rows a rollup has; at least 1 and no more than there are, if they have still to be
    /// made of another one's.
    package func rowCount(of rollup: Int) -> Int {
        guard let source = sources[rollup] else { return tables[rollup].rowCount }
        return min(1, tables[source].rowCount)
    }

    /// How many ids a text dimension has; 0 for one that no rollup has.
    package func valueCount(of dimension: Dimension) -> Int {
        dimensions.firstIndex(of: dimension).map { values[$0].count } ?? 0
    }

    /// The text of a value of a text dimension; what is not UTF-8 becomes U+FFFD.
    package func text(_ id: UInt32, of dimension: Dimension) -> String {
        guard let place = dimensions.firstIndex(of: dimension) else { return "" }
        return String(decoding: values[place].value(id), as: UTF8.self)
    }

    /// How many ids the dimension at a place has; ids are below it, and 0 stands for absent.
    package func valueCount(at place: Int) -> Int { values[place].count }

    /// The bytes of a value of the text dimension at a place; empty for id 0.
    package func value(_ id: UInt32, at place: Int) -> ArraySlice<UInt8> {
        values[place].value(id)
    }

    /// Calls the body with every row of a rollup, in the order in which their keys first came.
    package func forEachRow<E: Error>(
        of rollup: Int,
        _ body: (borrowing FoldedRow) throws(E) -> Void
    ) throws(E) {
        try table(of: rollup).forEachRow(values, order: nil, body)
    }

    /// Calls the body with every row of a rollup, ascending by bucket and ids of values unless the
    /// keys are too long for that.
    ///
    /// - Parameters:
    ///   - rollup: The rollup.
    ///   - ids: What each value of each text dimension is replaced by, by its place.
    ///   - body: Gets the rows.
    package func forEachRow<E: Error>(
        of rollup: Int,
        ascendingBy ids: [[Int32]],
        _ body: (borrowing FoldedRow) throws(E) -> Void
    ) throws(E) {
        let table = table(of: rollup)
        // Their ranks take fewer bits.
        var ranks: [[Int32]] = ids.map { _ in [] }
        for dimension in definitions[rollup].dimensions where !dimension.isInteger {
            guard let place = dimensions.firstIndex(of: dimension) else { continue }
            ranks[place] = Self.ranks(of: ids[place])
        }
        try table.forEachRow(values, order: table.order(by: ranks), body)
    }

    /// The place of each id among the different ids, ascending; that of the first, which stands for
    /// absent, and of all that are not larger than 0 is 0.
    private static func ranks(of ids: [Int32]) -> [Int32] {
        var ranks = [Int32](repeating: 0, count: ids.count)
        var rank: Int32 = 0
        var last: Int32 = 0
        for index in ids.indices.dropFirst().sorted(by: { ids[$0] < ids[$1] })
        where ids[index] > 0 {
            if ids[index] > last { rank += 1 }
            last = ids[index]
            ranks[index] = rank
        }
        return ranks
    }

    /// The rows of a rollup, made of those of another one if need be.
    private func table(of rollup: Int) -> RowTable {
        guard let source = sources[rollup] else { return tables[rollup] }
        var table = tables[rollup]
        table.add(tables[source], dimensionCount: dimensions.count)
        return table
    }
}

/// A dimension that all records have, as the hot path tells them apart.
private enum DimensionField: UInt8, BitwiseCopyable {
    case org, api, version, route, method, status, statusClass, outcome, region, application
    case key, plan, country, userAgent, platform, upstream
}

extension Dimension {
    /// The field; nil for tags.
    fileprivate var field: DimensionField? {
        switch self {
        case .org: .org
        case .api: .api
        case .version: .version
        case .route: .route
        case .method: .method
        case .status: .status
        case .statusClass: .statusClass
        case .outcome: .outcome
        case .region: .region
        case .application: .application
        case .key: .key
        case .plan: .plan
        case .country: .country
        case .userAgent: .userAgent
        case .platform: .platform
        case .upstream: .upstream
        case .tag: nil
        }
    }
}

extension RecordView {
    /// Where the text of a dimension is; empty for dimensions that are no text on the wire.
    @inline(__always)
    fileprivate func range(of field: DimensionField) -> ByteRange {
        switch field {
        case .org: org
        case .api: api
        case .version: apiVersion
        case .route: route
        case .method: method
        case .region: region
        case .application: application
        case .key: keyID
        case .plan: plan
        case .country: country
        case .userAgent: userAgentFamily
        case .platform: platform
        case .upstream: upstreamAddress
        case .status, .statusClass, .outcome: ByteRange()
        }
    }
}
