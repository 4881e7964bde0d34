"""The screens as pages without code, cells or menus."""
