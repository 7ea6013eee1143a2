"""Who may do what: credentials in, permits out.

Owns: the files of users and tokens, JSON Web Tokens and their keys, rules, what a principal may use
at once, the audit log. Must never know: routes, statements, rows.

``access_room`` its life, its door, its reload · ``evidence`` what holds now · ``permits`` what one
request may do · ``rules`` · ``usage`` limits · ``audit`` · ``authorization`` the header ·
``users``, ``passwords``, ``throttle`` Basic · ``tokens`` static bearer tokens · ``web_tokens``,
``jwks``, ``key_source`` JWT · ``certificates`` mTLS

Laws: what no rule grants is refused; a refusal says nothing of what was wrong, and an unknown name
takes as long as a wrong password; no credential is ever logged.
"""
