import Postgres
import Rollups

/// A filter whose values have become the integers that tables hold.
struct ResolvedFilter: Equatable, Sendable {
    /// The column that is compared.
    var column: DimensionColumn

    /// Whether rows with one of `numbers` match, or rows without.
    var isNegated: Bool

    /// Integers compared with; 0 stands for absent.
    var numbers: [Int64]

    /// Leading digits of a status, for `prefix` on statuses; replaces `numbers`.
    var statusPrefix: String?

    /// The integer of `__other__`, nil if no row has it.
    var other: Int64?

    /// Whether the filter asks for `__other__` itself.
    var asksForOther: Bool

    /// Whether the token forces this filter: then nothing outside is even counted.
    var isForced: Bool

    /// The condition on raw records, if those are read; replaces everything else.
    var ofRecords: RecordFilter?

    /// SQL of rows that surely match.
    func certain(_ statement: inout Statement) -> String {
        if let ofRecords { return ofRecords.condition(&statement) }
        let expression = column.expression
        if let statusPrefix {
            let prefix = statement.bind(.text(statusPrefix))
            return "(status > 0 AND starts_with(status::text, \(prefix)::text))"
        }
        var numbers = numbers
        if isNegated {
            if let other, !numbers.contains(other) { numbers.append(other) }
            return numbers.isEmpty
                ? "true" : "\(expression) <> ALL (\(statement.bind(.intArray(numbers)))::int8[])"
        }
        if asksForOther, let other { numbers.append(other) }
        return numbers.isEmpty
            ? "false" : "\(expression) = ANY (\(statement.bind(.intArray(numbers)))::int8[])"
    }

    /// Whether a row of `__other__` might hide matches.
    var mayHideMatches: Bool { !isForced && !asksForOther && other != nil }

    /// SQL of rows that match or might: those of `__other__`, whose keys are no longer known.
    func possible(_ statement: inout Statement) -> String {
        let certain = certain(&statement)
        guard mayHideMatches, let other else { return certain }
        return "(\(certain) OR \(column.expression) = \(statement.bind(.int(other))))"
    }
}

extension ResolvedFilter {
    /// Most values that a prefix may stand for; chosen: 1 MB of ids.
    static let idsMax = 100_000

    /// Looks the values of `filter` up in `sluice.dimension`.
    ///
    /// - Parameters:
    ///   - filter: the condition.
    ///   - isForced: whether the token forces it.
    ///   - rollup: whose tables are read.
    ///   - connection: inside the transaction of the question.
    init(
        _ filter: Filter,
        isForced: Bool,
        rollup: RollupDefinition,
        _ connection: PostgresConnection
    ) throws(QueryFailure) {
        let column = DimensionColumn(filter.dimension, in: rollup)
        self.column = column
        self.isForced = isForced
        isNegated = filter.comparison == .notEqual || filter.comparison == .noneOf
        asksForOther = filter.comparison == .equal && filter.values == [Dimension.otherValue]
        numbers = []
        other = nil
        if rollup.isOfRecords {
            do throws(Problem) {
                ofRecords = try RecordFilter(filter)
            } catch { throw .problem(error) }
            return
        }
        switch column {
        case .identifier:
            try lookUp(filter, connection)
        case .status where filter.comparison == .prefix:
            other = DimensionColumn.otherStatus
            statusPrefix = filter.values.first ?? ""
        case .classOfStatus where filter.comparison == .prefix:
            other = DimensionColumn.otherStatus
            let prefix = filter.values.first ?? ""
            numbers = (1...9).filter { "\($0)xx".hasPrefix(prefix) }
        case .status, .classOfStatus:
            other = DimensionColumn.otherStatus
            numbers = filter.values.compactMap(column.number)
        }
    }

    private mutating func lookUp(
        _ filter: Filter,
        _ connection: PostgresConnection
    ) throws(QueryFailure) {
        let name = PostgresValue.text(filter.dimension.name)
        let result: PostgresResult
        do throws(PostgresError) {
            if filter.comparison == .prefix {
                result = try connection.query(
                    """
                    SELECT id, value = $3::text FROM sluice.dimension
                    WHERE name = $1::text AND (starts_with(value, $2::text) OR value = $3::text)
                    LIMIT \(Self.idsMax + 1)
                    """,
                    [name, .text(filter.values.first ?? ""), .text(Dimension.otherValue)]
                )
            } else {
                result = try connection.query(
                    """
                    SELECT id, value = $3::text FROM sluice.dimension
                    WHERE name = $1::text AND value = ANY ($2::text[])
                    """,
                    [
                        name, .textArray(filter.values + [Dimension.otherValue]),
                        .text(Dimension.otherValue),
                    ]
                )
            }
        } catch { throw .database(error) }
        guard result.rowCount <= Self.idsMax else {
            throw .problem(
                Problem(
                    .tooCostly,
                    "the prefix stands for more than \(Self.idsMax) values; lengthen it",
                    parameter: "filter"
                )
            )
        }
        for row in 0..<result.rowCount {
            guard let id = result.int(row, 0) else { continue }
            if result.bool(row, 1) == true { other = id } else { numbers.append(id) }
        }
        if filter.comparison != .prefix, filter.values.contains("") { numbers.append(0) }
    }
}
