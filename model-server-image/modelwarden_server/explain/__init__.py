"""Why the model said what it said: SHAP and LIME engines. Pure numerics, exact paths first."""
