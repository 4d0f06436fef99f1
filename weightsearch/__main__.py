from weightsearch.cli import main

main()
