"""Run: settings, papermill, pages."""
