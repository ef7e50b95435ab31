"""Does the score predict lost safety? Fine-tunes on rows chosen by score, and by simpler things, and measures.

A plan (TOML) names a start model, a recipe and arms. Work is cut into cells of one arm and one seed; each leaves a
small JSON file, and a study that is stopped goes on with what is missing: `curation study PLAN.toml --data FOLDER`.
docs/evidence.md holds the claims, fixed before any arm was run, and what came out.
"""
