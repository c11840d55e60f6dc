import Rollups

extension TokenScope {
    /// Filters that every question of this scope gets, whatever it asks.
    ///
    /// A list of one, because lists never match `__other__`, which holds requests of others.
    var filters: [Filter] {
        get throws(QueryFailure) {
            switch self {
            case .admin: return []
            case .org(let org): return [try Self.filter(.org, org)]
            case .application(let org, let application):
                return [try Self.filter(.org, org), try Self.filter(.application, application)]
            }
        }
    }

    private static func filter(
        _ dimension: Dimension,
        _ value: String
    ) throws(QueryFailure) -> Filter {
        // The store refuses to make such a token; one that is there anyway sees nothing.
        guard !value.isEmpty, value != Dimension.otherValue else {
            throw .problem(Problem(.forbidden, "the token names no \(dimension.name)"))
        }
        return Filter(dimension, .anyOf, [value])
    }
}
