"""Who may do what: credentials in, permits out.

Owns: the files of users and tokens, JSON Web Tokens and their keys, rules, what a principal may use
at once, the audit log. Must never know: routes, statements, rows.

Laws: what no rule grants is refused; two credentials take the same time to refuse whatever is wrong
with them; no credential is ever logged.
"""
