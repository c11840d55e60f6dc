package import Postgres

/// Why a question was not answered, before it is put into words for the client.
package enum QueryFailure: Error, Sendable {
    /// The client can read why.
    case problem(Problem)
    /// The database failed; what it said goes to the log, not to the client.
    case database(PostgresError)

    /// The problem that the client reads.
    package var problem: Problem {
        switch self {
        case .problem(let problem): return problem
        case .database(let error):
            switch error.sqlState {
            case "57014":
                return Problem(
                    .tooCostly,
                    "the database did not finish in time; shorten the range, add filters or group "
                        + "by fewer dimensions"
                )
            // 22023: the reader role is not there; 42883: one of our functions.
            case "3F000", "42P01", "42703", "42883", "22023":
                return Problem(
                    .unavailable,
                    "the database schema is not current; run sluice migrate"
                )
            case "53300":
                return Problem(
                    .unavailable,
                    "all database connections are busy; try again in a second"
                )
            default:
                if error.isRetriable {
                    return Problem(
                        .unavailable,
                        "the database cannot be reached; try again in a second"
                    )
                }
                return Problem(.internalError, "something failed here; the server's log says what")
            }
        }
    }
}
