module spore/tests/programs

go 1.24
