import Postgres

/// SQL under construction: text made of fixed parts, and values as parameters only.
struct Statement {
    /// The text so far.
    var text = ""

    /// Values of `$1`, `$2` and so on.
    private(set) var parameters: [PostgresValue] = []

    /// Adds a parameter and returns its name in the text.
    mutating func bind(_ value: PostgresValue) -> String {
        parameters.append(value)
        return "$\(parameters.count)"
    }

    /// A name of ours in double quotes, so that no keyword can get in the way.
    static func quote(_ identifier: String) -> String { "\"" + identifier + "\"" }
}
