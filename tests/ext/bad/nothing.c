// Is no extension.
int nothing;
