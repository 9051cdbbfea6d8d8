"""Tables, migrations and the queries over them."""
