from weightsearch.commands.main import main

main()
